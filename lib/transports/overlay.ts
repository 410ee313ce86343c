/**
 * Methods that take the place of an object's for a while.
 *
 * They come by way of the prototype. V8 remembers a change of prototype; but each property that is added after
 * one (and Express changes that of every response) makes a new hidden class, which costs more than the call.
 */
export class Overlay {
  private readonly descriptors: PropertyDescriptorMap;
  private readonly overlaid = new WeakMap<object, object>();

  /** @param methods methods and accessors, called with the object as `this`. */
  constructor(private readonly methods: Record<string, unknown>) {
    this.descriptors = Object.getOwnPropertyDescriptors(methods);
  }

  /** @returns takes them away again, and with them whatever was put over them meanwhile. */
  put(object: object): () => void {
    const target = object as Record<string, unknown>;
    const prototype = Object.getPrototypeOf(object) as object;
    const own = new Map<string, unknown>();
    for (const name in this.methods) {
      if (!Object.hasOwn(target, name)) continue;
      own.set(name, target[name]);
      target[name] = this.methods[name];
    }
    Object.setPrototypeOf(object, this.over(prototype));
    return () => {
      for (const name in this.methods) {
        if (own.has(name)) target[name] = own.get(name);
        else if (Object.hasOwn(target, name)) delete target[name];
      }
      Object.setPrototypeOf(object, prototype);
    };
  }

  private over(prototype: object): object {
    let over = this.overlaid.get(prototype);
    if (!over) this.overlaid.set(prototype, (over = Object.create(prototype, this.descriptors) as object));
    return over;
  }
}
