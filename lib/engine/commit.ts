import { IdempotencyError } from '../idempotency.errors.js';
import type { ResultStore } from '../stores/result-store.js';
import type { StoreTransaction } from '../stores/store-transactions.js';
import { BackendUnavailableError, within } from './backend.js';

/** A claim, and the store it is in. */
export interface CommittedClaim {
  readonly store: ResultStore;
  readonly id: string;
  readonly token: string;
  readonly leaseMs: number;
  readonly backendTimeoutMs: number;
}

/** What ends a transaction. */
export interface LastStatement {
  /** Changes the record, or adds to it; its row is locked from then on. @returns whether the token still owns it. */
  readonly execute: () => Promise<boolean>;
  /** Whether what it did is in the store, while the token owns the record no more. */
  readonly isInStore: () => Promise<boolean>;
  /** The same, while the token owns the running record. */
  readonly isInStoreRunning: () => Promise<boolean>;
}

/**
 * The end of a transaction: its last statement, guarded by the token, and the commit.
 *
 * A commit without an answer may have been executed, or may yet be. That is found out by a renewal of the claim: the
 * transaction has the record's row locked, so the renewal waits for its end, and then says what has become of it.
 *
 * @returns false: somebody else owns the record; the transaction was rolled back.
 * @throws IdempotencyError `transaction-conflict` (worth running again), `transaction-failed`, `unavailable`: rolled
 * back. `outcome-uncertain`: nobody knows, the store does not answer either.
 */
export async function commitWith(
  transaction: StoreTransaction,
  last: LastStatement,
  claim: CommittedClaim,
): Promise<boolean> {
  const bounded = <T>(work: () => Promise<T>) => within(claim.backendTimeoutMs, 'The transaction', work);
  try {
    if (!(await bounded(last.execute))) {
      await transaction.rollback();
      return false;
    }
  } catch (error) {
    throw await rolledBack(transaction, error);
  }
  try {
    await bounded(() => transaction.commit());
    return true;
  } catch (error) {
    if (transaction.hasAnswered(causeOf(error))) throw await rolledBack(transaction, error);
    await transaction.rollback();
    return (await hasCommitted(last, claim, error)) || Promise.reject(conflict(error));
  }
}

/** @throws IdempotencyError `outcome-uncertain` when that cannot be told. */
async function hasCommitted(last: LastStatement, claim: CommittedClaim, cause: unknown): Promise<boolean> {
  const { store, id, token, leaseMs, backendTimeoutMs } = claim;
  try {
    return await within(backendTimeoutMs, `Store ${store.name}`, async () => {
      const [isMine] = await store.renew([{ id, token }], leaseMs);
      return isMine ? last.isInStoreRunning() : last.isInStore();
    });
  } catch {
    throw new IdempotencyError('outcome-uncertain', {
      detail: 'The database did not say whether it committed. Ask again: the record tells.',
      retryAfterMs: 1_000,
      cause,
    });
  }
}

async function rolledBack(transaction: StoreTransaction, error: unknown): Promise<IdempotencyError> {
  const cause = causeOf(error);
  const isConflict = transaction.gaveWay(cause);
  await transaction.rollback();
  if (isConflict) return conflict(error);
  if (error instanceof BackendUnavailableError && error.cause === undefined)
    return new IdempotencyError('unavailable', { retryAfterMs: 1_000, cause: error });
  return new IdempotencyError('transaction-failed', { cause });
}

function conflict(cause: unknown): IdempotencyError {
  return new IdempotencyError('transaction-conflict', { retryAfterMs: 1_000, cause });
}

/** What `within` has wrapped. */
function causeOf(error: unknown): unknown {
  return error instanceof BackendUnavailableError ? (error.cause ?? error) : error;
}
