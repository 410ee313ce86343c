import type { LockLease } from './lock-lease.js';

export interface AcquireOptions {
  /** Life of the lock in milliseconds unless renewed. Integer > 0. */
  readonly ttlMs: number;
  /** How long to wait for the holder, in milliseconds. @default 0 */
  readonly waitMs?: number;
  /** Renew at a third of the life until released. @default true */
  readonly renew?: boolean;
  /** No renewal later than this many milliseconds after the grant. @default 10 minutes */
  readonly maxHoldMs?: number;
  /** Gives up waiting when it aborts. */
  readonly signal?: AbortSignal;
}

export type AcquireResult =
  | { readonly status: 'acquired'; readonly lease: LockLease }
  /** `retryAfterMs`: life left of the present lock. `holder`: its token where the driver can tell. */
  | { readonly status: 'busy'; readonly retryAfterMs: number; readonly holder?: string }
  | { readonly status: 'timeout' }
  | { readonly status: 'aborted' }
  | { readonly status: 'unavailable'; readonly cause: unknown };

/** @throws TypeError naming the option, its value and the fix. */
export function checkAcquireOptions({ ttlMs, waitMs = 0, maxHoldMs }: AcquireOptions): void {
  checkMilliseconds('ttlMs', ttlMs, 1);
  checkMilliseconds('waitMs', waitMs, 0);
  if (maxHoldMs !== undefined) checkMilliseconds('maxHoldMs', maxHoldMs, 1);
}

function checkMilliseconds(option: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return;
  throw new TypeError(
    `${option} is ${String(value)}; it must be an integer of at least ${least} (milliseconds)`,
  );
}
