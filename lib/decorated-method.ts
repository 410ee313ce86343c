import 'reflect-metadata';
import { IdempotencyOptionsError } from './idempotency.errors.js';
import { type CallFrame, frames } from './idempotency.frame.js';
import { callerOf } from './idempotency.managed.js';
import type { IdempotentMetadata } from './idempotent.decorator.js';
import type { LockedMetadata } from './locked.decorator.js';

/** What the decorators of this package have left on a method. */
export interface MethodMarks {
  idempotent?: IdempotentMetadata;
  locked?: LockedMetadata;
  /** The method itself, by which it is known: others may have bound or wrapped it. */
  method?: Function;
}

type Body = (...args: unknown[]) => unknown;

const MARKS = Symbol('nestjs-idempotent:method');
/** The methods made here. One wrapper serves all decorators, so that their order does not matter. */
const wrappers = new WeakSet<object>();

/** What our decorators left on a method, also where another decorator has wrapped it since. */
export function marksOf(method: unknown): MethodMarks | undefined {
  return typeof method === 'function'
    ? (Reflect.getMetadata(MARKS, method) as MethodMarks | undefined)
    : undefined;
}

/** The decorated method in a copy of it, as `bind` makes one, that has its metadata; others as they are. */
export function decoratedMethod(copy: Function): Function {
  return marksOf(copy)?.method ?? copy;
}

/**
 * Marks the method of a descriptor, wrapping it if that has not been done.
 *
 * @throws IdempotencyOptionsError when it is no method, has the mark already, or was wrapped by another
 * decorator in between.
 */
export function markMethod<Mark extends keyof MethodMarks>(
  descriptor: PropertyDescriptor | undefined,
  label: string,
  mark: Mark,
  metadata: NonNullable<MethodMarks[Mark]>,
): void {
  const decorator = mark === 'idempotent' ? '@Idempotent' : '@Locked';
  const method: unknown = descriptor?.value;
  if (!descriptor || typeof method !== 'function') {
    throw new IdempotencyOptionsError(`${decorator} on ${label}: put it on a method`);
  }
  const marks = marksOf(method) ?? {};
  if (marks[mark]) {
    throw new IdempotencyOptionsError(`${decorator} on ${label}: it is there twice; leave one of them`);
  }
  if (!wrappers.has(method)) {
    if (marks.idempotent || marks.locked) {
      throw new IdempotencyOptionsError(
        `${decorator} on ${label}: put @Idempotent and @Locked next to each other; here another decorator is between them`,
      );
    }
    descriptor.value = wrap(method as Body, marks);
  }
  marks[mark] = metadata;
}

/**
 * The method as Nest and everybody else calls it. On the way through the interceptor an idempotent one only
 * reports when its body begins and ends; called in any other way it is a call of its own. The key is claimed
 * first and the lock is taken second, so who gets no lock has not begun.
 */
function wrap(original: Body, marks: MethodMarks): Body {
  function method(this: object, ...args: unknown[]): unknown {
    const { idempotent, locked } = marks;
    const frame = frames.getStore();
    const body = () => original.apply(this, args);
    if (!idempotent) return callerOf(this, method, '@Locked', args).lock(locked!, this, method, args, body);
    if (frame?.target !== method || !frame.isOpen)
      return callerOf(this, method, '@Idempotent', args).call(this, method, args, body);
    if (!locked || frame.isReplay) return frame.enter(body);
    return callerOf(this, method, '@Locked').lock(locked, this, method, args, () => enterHeld(frame, body));
  }
  // Nest and other decorators read name, length and metadata from the function they find.
  Object.defineProperty(method, 'name', { value: original.name, configurable: true });
  Object.defineProperty(method, 'length', { value: original.length, configurable: true });
  for (const name of Reflect.getMetadataKeys(original)) {
    Reflect.defineMetadata(name, Reflect.getMetadata(name, original), method);
  }
  marks.method = method;
  Reflect.defineMetadata(MARKS, marks, method);
  wrappers.add(method);
  return method;
}

/** While it waited for the lock the call may have been given up (a time-out) or may have lost its key. */
function enterHeld(frame: CallFrame, body: () => unknown): unknown {
  frame.context.assertHeld();
  return frame.enter(body);
}
