import { marksOf, markMethod } from './decorated-method.js';
import { IdempotencyOptionsError } from './idempotency.errors.js';
import type { KeyFunction } from './idempotent.decorator.js';
import type { LockedOptions } from './locked.options.js';
import { compileKeyTemplate, type KeyMaker } from './identity/key-template.js';

/** What the decorator leaves on a method. */
export interface LockedMetadata {
  readonly key: string | KeyFunction;
  readonly template: KeyMaker | undefined;
  readonly options: LockedOptions;
}

/**
 * Runs a handler, or any provider's method, under a lock of the module's `lock`: one at a time per name, over all
 * processes. It is `LockService.using` around the method, and no idempotency: who comes next runs again.
 *
 * The lock is taken when the method is called (after guards, pipes and interceptors) and released when what it
 * returned has settled; an Observable, when it has ended. `LockLease.current()` gives the lease below the method.
 * Together with `@Idempotent`, in either order, the key is claimed first: a replay takes no lock, and who gets no
 * lock has not begun.
 *
 * @example
 * ```ts
 * @Locked('order:{body.orderId}', { waitMs: seconds(5) })
 * @Locked(({ args }) => `stock:${args[0].sku}`)
 * ```
 * @param key the name of the lock: a template or a function of the call, as of `@Idempotent`. Methods that make
 * the same name exclude each other, and `LockService.using` of that name.
 * @throws IdempotencyOptionsError at start-up when the template or an option cannot be right, or the module has
 * no `lock`.
 * @throws LockNotAcquiredError from the method when it does not get the lock. The method returns a promise.
 */
export function Locked(key: string | KeyFunction, options: LockedOptions = {}): MethodDecorator {
  return (target, property, descriptor: PropertyDescriptor) => {
    const label = `${target.constructor.name}.${String(property)}`;
    markMethod(descriptor, label, 'locked', { key, template: compile(key, label), options });
    return descriptor;
  };
}

/** What `@Locked` left on a method, if anything. */
export function lockedMetadata(method: unknown): LockedMetadata | undefined {
  return marksOf(method)?.locked;
}

function compile(key: unknown, label: string): KeyMaker | undefined {
  if (typeof key === 'function') return undefined;
  try {
    if (typeof key === 'string') return compileKeyTemplate(key);
  } catch (error) {
    throw new IdempotencyOptionsError(`@Locked on ${label}: ${(error as Error).message}`);
  }
  throw new IdempotencyOptionsError(
    `@Locked on ${label}: say what is locked, by a template or a function, for example @Locked('order:{body.orderId}')`,
  );
}
