import { IdempotencyOptionsError } from './idempotency.errors.js';

/** Runs a call of a decorated method that did not come through an interceptor. */
export interface MethodCaller {
  call(instance: object, method: Function, args: readonly unknown[]): Promise<unknown>;
}

/** Who manages an object: found at start-up; for objects Nest makes per request, by their class. */
const callers = new WeakMap<object, MethodCaller | 'nobody'>();

/** @param owner an instance, or a class whose instances are made per request. */
export function manage(owner: object, caller: MethodCaller): void {
  callers.set(owner, caller);
}

/** The methods of this object run as if they were not decorated. For unit tests that make their objects by hand. */
export function unprotected<T extends object>(instance: T): T {
  callers.set(instance, 'nobody');
  return instance;
}

/**
 * @throws IdempotencyOptionsError when no module manages the object: running unprotected by accident is how
 * money leaves twice.
 */
export function callManaged(
  instance: object,
  method: Function,
  args: readonly unknown[],
  body: () => unknown,
): unknown {
  const caller = callers.get(Object(instance)) ?? callers.get(Object(instance).constructor);
  if (caller === 'nobody') return body();
  if (caller) return caller.call(instance, method, args);
  const label = `${Object(instance).constructor?.name ?? '?'}.${method.name}`;
  throw new IdempotencyOptionsError(
    `@Idempotent on ${label}: no IdempotencyModule manages this object. Import IdempotencyModule.forRoot(...) in the ` +
      'root module and let Nest make the object; in a unit test wrap it: unprotected(object) of nestjs-idempotent/testing',
  );
}
