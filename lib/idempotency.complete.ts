import { hours } from './durations.js';
import { IdempotencyOptionsError } from './idempotency.errors.js';
import type { ResultStore } from './stores/result-store.js';

/** How long the work of a dead process is tried to be finished. */
export interface CompleteOptions {
  /** In all, those of its callers included; at least 2. @default 5 */
  readonly attempts?: number;
  /** Since the key was first used, in milliseconds. @default 3 600 000 (1 hour) */
  readonly deadlineMs?: number;
}

/** The bounds of `complete`, with their defaults; false where nothing is completed. */
export function completeOf(
  complete: boolean | CompleteOptions | undefined,
): false | Required<CompleteOptions> {
  if (!complete) return false;
  const { attempts = 5, deadlineMs = hours(1) } = complete === true ? {} : complete;
  return { attempts, deadlineMs };
}

/** @throws IdempotencyOptionsError when the other options leave nothing to be completed. */
export function refuseIncompletable(
  { onOrphan, reconcile }: { readonly onOrphan: string; readonly reconcile?: unknown },
  store: ResultStore,
  where: string,
): void {
  if (onOrphan === 'uncertain' && !reconcile) {
    throw new IdempotencyOptionsError(
      `${where} onOrphan is "uncertain", so nothing would be completed; ` +
        `set onOrphan: 'retry', or give it a reconcile hook that finds out what became of the work`,
    );
  }
  if (!store.steps) {
    throw new IdempotencyOptionsError(
      `${where} the store ${store.name} keeps no steps, beside which the arguments are stored; ` +
        'use typeOrmStore, redisStore or memoryStore',
    );
  }
}

export function isComplete(value: unknown): boolean {
  if (typeof value === 'boolean') return true;
  if (typeof value !== 'object' || value === null) return false;
  const { attempts = 2, deadlineMs = 1, ...others } = value as Record<string, unknown>;
  const isAtLeast = (n: unknown, least: number) => Number.isSafeInteger(n) && (n as number) >= least;
  return isAtLeast(attempts, 2) && isAtLeast(deadlineMs, 1) && Object.keys(others).length === 0;
}
