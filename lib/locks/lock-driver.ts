/**
 * How far a fence may run ahead of the clock of the server that gives it, in milliseconds. Fences are times in
 * microseconds: after a server forgot them, its clock makes them grow, if they were not far ahead of it.
 */
export const FENCE_LEAD_MS = 200;

/**
 * What the author of a lock driver implements. Waiting, renewal, loss detection, queues inside the process
 * and time-outs are not the driver's business: `LockService` does them once for all drivers.
 *
 * Promises every driver keeps:
 *
 * 1. `acquire` is one atomic attempt. It never waits for the holder.
 * 2. An attempt whose reply was lost may be sent again with the same token and recognises its own lock:
 *    it is acquired, with the full life and a fence not lower than before.
 * 3. `extend` and `release` compare the token and do nothing to another holder's lock.
 * 4. Expiry is decided by the server's clock (or the session's), never by the caller's.
 * 5. Fences grow with every new holder of a name, also after the server lost its memory.
 * 6. A method rejects when the backend could not be asked, did not answer or refused service for whatever
 *    reason (READONLY, LOADING, a closed socket, …). That is "unavailable"; it is never reported as busy.
 */
export abstract class LockDriver {
  /** Name in messages and metrics, e.g. `redis`. */
  abstract readonly name: string;

  /**
   * True: a refused contender stays in the backend's own line, first come first served, and its next
   * `acquire` with the same token asks whether it is its turn. Who gives up calls `release`. @default false
   */
  readonly queues: boolean = false;

  /**
   * One attempt to lock `name` for `ttlMs` under `token`.
   *
   * @param leastFence what a quorum would like the fence to be, so that all its nodes give the same. A driver
   * may follow it as far as it is ahead of its own clock by no more than `FENCE_LEAD_MS`, or ignore it.
   */
  abstract acquire(name: string, token: string, ttlMs: number, leastFence?: bigint): Promise<AcquireAnswer>;

  /**
   * Prolongs several locks in one round trip, each to `ttlMs` from now.
   *
   * @returns one answer a lock, in order. false says definitely that it is not the caller's any more; null, that
   * nobody can tell of this one although others of the batch were answered.
   */
  abstract extend(locks: readonly LockRef[], ttlMs: number): Promise<ExtendAnswer[]>;

  /** @returns false when the token does not hold the lock (any more). */
  abstract release(name: string, token: string): Promise<boolean>;

  /**
   * Makes every fence of `name` given out from now on greater than `fence`. Without it a driver cannot be one
   * of several in a quorum.
   */
  raiseFence?(name: string, fence: bigint): Promise<void>;

  /**
   * Calls `wake` when the lock is released (or, in a line, when it may be the turn of `token`), until the
   * returned function is called. Resolves once the subscription is in force. Wake-ups may be lost or spurious;
   * a waiter looks again at an interval anyway.
   */
  watch?(name: string, wake: () => void, token: string): Promise<() => void>;

  /**
   * Removes at most `limit` left-overs of locks nobody holds, where the backend does not do it by itself.
   * Called at intervals.
   *
   * @returns how many; `limit` says that there may be more.
   */
  sweep?(limit: number): Promise<number>;

  /**
   * Ends what the driver itself has opened, such as a session; never what the user gave it. Called at shutdown,
   * when its locks have been released. What is asked of the driver afterwards rejects.
   */
  close?(): Promise<void>;
}

/** null: nobody can tell. */
export type ExtendAnswer = boolean | null;

export interface LockRef {
  readonly name: string;
  /** Random, one per lease; at most 64 characters. */
  readonly token: string;
}

export type AcquireAnswer =
  | {
      readonly acquired: true;
      readonly fence: bigint;
      /** Where the backend tells of a loss before the life is over (a session that ends): registers who is told. */
      readonly whenLost?: (lost: () => void) => void;
      /**
       * Milliseconds for which that (the session) may still be believed in, 0 or less once it may not. Asked at any
       * time, answered from the clocks: a process that stood still must not need an event to know.
       */
      readonly beliefMs?: () => number;
    }
  /** `retryAfterMs`: life left of the present lock. `holder`: its token, if the driver can tell. */
  | { readonly acquired: false; readonly retryAfterMs: number; readonly holder?: string };
