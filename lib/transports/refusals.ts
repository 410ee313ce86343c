import { IdempotencyError, type IdempotencyErrorCode } from '../idempotency.errors.js';

/** Refusals that a later delivery of the same message may not meet. */
const FOR_NOW = new Set<IdempotencyErrorCode>([
  ...(['in-progress', 'unavailable', 'lease-lost', 'transaction-conflict'] as const),
  ...(['lock-busy', 'lock-lost', 'lock-unavailable'] as const),
]);

/** Whether a message that was refused with it is to come again later. */
export function isForNow(error: unknown): boolean {
  return error instanceof IdempotencyError && FOR_NOW.has(error.code);
}

/** Until somebody resolves it. */
export function isUncertainOutcome(error: unknown): boolean {
  return error instanceof IdempotencyError && error.code === 'outcome-uncertain';
}

/** The database has refused to commit: nothing was done. */
export function isTransactionFailed(error: unknown): boolean {
  return error instanceof IdempotencyError && error.code === 'transaction-failed';
}

/** What a handler locks cannot be told, however often its message comes. */
export function isNameless(error: unknown): boolean {
  return error instanceof IdempotencyError && error.code === 'lock-name-invalid';
}
