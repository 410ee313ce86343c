import { IdempotencyOptionsError } from './idempotency.errors.js';
import type { LockedMetadata } from './locked.decorator.js';
import { jobOf } from './transports/bullmq-job.js';

/** Runs calls of decorated methods. */
export interface MethodCaller {
  /** A call that did not come through an interceptor: it claims, and calls the method again under its claim. */
  call(instance: object, method: Function, args: readonly unknown[], body: () => unknown): unknown;
  /** Runs `body` under the lock of the method. */
  lock(
    locked: LockedMetadata,
    instance: object,
    method: Function,
    args: readonly unknown[],
    body: () => unknown,
  ): unknown;
}

/** Modules that have yet to find what they manage. */
const starting = new Set<Promise<void>>();

/** Workers of BullMQ begin while the app starts: until `started` jobs of unknown objects wait. */
export function managesFrom(started: Promise<void>): void {
  starting.add(started);
  void started.then(() => starting.delete(started));
}

const waitingCaller: MethodCaller = {
  call: async (instance, method, args, body) => {
    await Promise.all(starting);
    return callerOf(instance, method, '@Idempotent').call(instance, method, args, body);
  },
  lock: async (locked, instance, method, args, body) => {
    await Promise.all(starting);
    return callerOf(instance, method, '@Locked').lock(locked, instance, method, args, body);
  },
};

/** Runs what it is given as if there were no decorator. */
const unprotectedCaller: MethodCaller = {
  call: (_instance, _method, _args, body) => body(),
  lock: (_locked, _instance, _method, _args, body) => body(),
};

/** Who manages an object: found at start-up; for objects Nest makes per request, by their class. */
const callers = new WeakMap<object, MethodCaller>();

/** @param owner an instance, or a class whose instances are made per request. */
export function manage(owner: object, caller: MethodCaller): void {
  callers.set(owner, caller);
}

/** The methods of this object run as if they were not decorated. For unit tests that make their objects by hand. */
export function unprotected<T extends object>(instance: T): T {
  callers.set(instance, unprotectedCaller);
  return instance;
}

/**
 * @throws IdempotencyOptionsError when no module manages the object: running unprotected by accident is how
 * money leaves twice.
 */
export function callerOf(
  instance: object,
  method: Function,
  decorator: string,
  args: readonly unknown[] = [],
): MethodCaller {
  const caller = callers.get(Object(instance)) ?? callers.get(Object(instance).constructor);
  if (caller) return caller;
  if (starting.size > 0 && jobOf(args)) return waitingCaller;
  const label = `${Object(instance).constructor?.name ?? '?'}.${method.name}`;
  throw new IdempotencyOptionsError(
    `${decorator} on ${label}: no IdempotencyModule manages this object. Import IdempotencyModule.forRoot(...) in the ` +
      'root module and let Nest make the object; in a unit test wrap it: unprotected(object) of nestjs-idempotent/testing',
  );
}
