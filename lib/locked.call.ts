import { AsyncLocalStorage } from 'node:async_hooks';
import type { IdempotentCall } from './idempotency.call.js';
import type { LockedMetadata } from './locked.decorator.js';

interface Handled {
  readonly locked: LockedMetadata;
  readonly call: IdempotentCall;
}

/** The call that reaches a handler: its method sees the arguments only, and the lock may be named by the request. */
const handled = new AsyncLocalStorage<Handled>();

/** Runs `work`, in which the method marked with `locked` handles this call. */
export function handling<T>(locked: LockedMetadata, call: IdempotentCall, work: () => T): T {
  return handled.run({ locked, call }, work);
}

/** The call that reached the method; undefined when it was called by hand. */
export function handledCall(locked: LockedMetadata): IdempotentCall | undefined {
  const store = handled.getStore();
  return store?.locked === locked ? store.call : undefined;
}
