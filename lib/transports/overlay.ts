/**
 * Methods that take the place of an object's for a while.
 *
 * They come by way of the prototype. V8 remembers a change of prototype; but each property that is added after
 * one (and Express changes that of every response) makes a new hidden class, which costs more than the call.
 */
export class Overlay {
  private readonly names: readonly string[];
  private readonly overlaid = new WeakMap<object, object>();

  /** @param methods methods and accessors, called with the object as `this`. */
  constructor(private readonly methods: Record<string, unknown>) {
    this.names = Object.keys(methods);
  }

  /** @returns takes them away again, and with them whatever was put over them meanwhile. */
  put(object: object): () => void {
    const target = object as Record<string, unknown>;
    const prototype = Object.getPrototypeOf(object) as object;
    let own: Map<string, unknown> | undefined;
    for (const name of this.names) {
      if (!Object.hasOwn(target, name)) continue;
      (own ??= new Map()).set(name, target[name]);
      target[name] = this.methods[name];
    }
    Object.setPrototypeOf(object, this.over(prototype));
    return () => {
      for (const name of this.names) {
        if (own?.has(name)) target[name] = own.get(name);
        else if (Object.hasOwn(target, name)) delete target[name];
      }
      Object.setPrototypeOf(object, prototype);
    };
  }

  private over(prototype: object): object {
    let over = this.overlaid.get(prototype);
    if (!over) {
      over = Object.create(prototype, Object.getOwnPropertyDescriptors(this.methods)) as object;
      this.overlaid.set(prototype, over);
    }
    return over;
  }
}
