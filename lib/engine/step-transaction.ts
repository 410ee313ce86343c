import { IdempotencyError, leaseLost, StepError } from '../idempotency.errors.js';
import type { StepRecord } from '../stores/step-store.js';
import type {
  StoreTransaction,
  StoreTransactions,
  TransactionManager,
} from '../stores/store-transactions.js';
import { pause, within } from './backend.js';
import type { Ownership } from './ownership.js';
import { decodeResult } from './step-result.js';

/** How often a step's transaction that gave way to others is run again. */
const RETRIES = 3;
/** Longest pause before that, in milliseconds, times the number of runs. */
const PAUSE_MS = 40;

/** Where the transactions of steps are begun, and how long that may take in milliseconds. */
export interface StepTransactions {
  readonly transactions: StoreTransactions;
  readonly beginWithinMs: number;
}

/**
 * Does `work` and writes its step in one transaction: both are there, or neither. Run again when the database rolled it
 * back in favour of others.
 *
 * @throws IdempotencyError `lease-lost`, `unavailable`, `transaction-conflict`, `transaction-failed`: nothing was written.
 * @throws StepError when the result is not JSON: nothing was written.
 */
export async function inStepTransaction<T>(
  { transactions, beginWithinMs }: StepTransactions,
  ownership: Ownership | null,
  work: (manager: TransactionManager) => Promise<T> | T,
  record: (value: T) => StepRecord,
): Promise<void> {
  for (let run = 1; ; run++) {
    const transaction = await beginWithin(transactions, beginWithinMs, ownership);
    const stopListening = rollbackWhenLost(transaction, ownership);
    try {
      const step = record(await work(transaction.manager));
      refuseLost(step);
      if (ownership) await ownership.commitStep(transaction, step);
      else await transaction.commit();
      return;
    } catch (error) {
      const gaveWay = isConflict(error) || transaction.gaveWay(error);
      await transaction.rollback();
      if (ownership && !ownership.isHeld()) throw leaseLost();
      if (!gaveWay || run > RETRIES) throw error;
    } finally {
      stopListening();
    }
    await pause(PAUSE_MS * run * Math.random());
  }
}

/** @throws IdempotencyError `unavailable` when there is no connection, or none in time. */
export async function beginWithin(
  transactions: StoreTransactions,
  ms: number,
  ownership: Ownership | null,
  isolation?: Parameters<StoreTransactions['begin']>[0],
): Promise<StoreTransaction> {
  try {
    return await within(
      ms,
      'A transaction',
      () => transactions.begin(isolation, ownership?.identity.id ?? null),
      (late) => void late.rollback(),
    );
  } catch (cause) {
    throw new IdempotencyError('unavailable', { retryAfterMs: 1_000, cause });
  }
}

/** Its writes would not be committed any more, and its locks stand in the successor's way. */
export function rollbackWhenLost(transaction: StoreTransaction, ownership: Ownership | null): () => void {
  const signal = ownership?.signal;
  const lost = () => void transaction.rollback();
  signal?.addEventListener('abort', lost, { once: true });
  if (signal?.aborted) lost();
  return () => signal?.removeEventListener('abort', lost);
}

export function isConflict(error: unknown): boolean {
  return error instanceof IdempotencyError && error.code === 'transaction-conflict';
}

/** Nobody knows whether it was committed. */
export function isUncertain(error: unknown): boolean {
  return error instanceof IdempotencyError && error.code === 'outcome-uncertain';
}

function refuseLost({ name, result }: StepRecord): void {
  const decoded = decodeResult(result);
  if ('lost' in decoded)
    throw new StepError(`Step "${name}" was rolled back, as its result cannot be kept: ${decoded.lost}`);
}
