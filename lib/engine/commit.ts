import { IdempotencyError, leaseLost } from '../idempotency.errors.js';
import type { ResultStore, StoredResponse } from '../stores/result-store.js';
import type { StepRecord } from '../stores/step-store.js';
import type { StoreTransaction } from '../stores/store-transactions.js';
import { BackendUnavailableError, within } from './backend.js';

/** A claim, and the store it is in. */
export interface CommittedClaim {
  readonly store: ResultStore;
  readonly id: string;
  readonly token: string;
  readonly leaseMs: number;
  readonly retentionMs: number;
  /** It is not given back, but runs out. */
  readonly isKept: boolean;
  readonly backendTimeoutMs: number;
}

/**
 * The end of a call's transaction: the answer, guarded by the token, and the commit.
 *
 * Both may travel in one message, and of a message without an answer nobody knows whether it was executed, or will be
 * yet. So the key is given back first. If that finds the record running under the token, what is still on its way will not
 * find the token any more, and commits nothing. If the message came first, it has the row locked: giving back waits for
 * the end of the transaction, and finds the record completed.
 *
 * @returns false: somebody else owns the record; the transaction was rolled back.
 * @throws IdempotencyError `transaction-conflict` (worth running again), `transaction-failed`, `unavailable`: nothing
 * was committed. `outcome-uncertain`: nobody knows, the store does not answer either.
 */
export async function commitAnswer(
  transaction: StoreTransaction,
  claim: CommittedClaim,
  response: StoredResponse,
): Promise<boolean> {
  const { store, id, token, backendTimeoutMs, retentionMs } = claim;
  try {
    const isMine = await within(backendTimeoutMs, 'The transaction', () =>
      transaction.complete(id, token, response, retentionMs),
    );
    if (!isMine) await transaction.rollback();
    return isMine;
  } catch (error) {
    if (transaction.hasAnswered(causeOf(error))) throw await rolledBack(transaction, error);
    await transaction.rollback();
    const { isGivenBack, record } = await findOut(claim, error, async () => ({
      isGivenBack: !claim.isKept && (await store.release(id, token, 'keep', retentionMs)),
      record: await store.find(id),
    }));
    if (record?.state === 'completed' && record.token === token) return true;
    if (isGivenBack) throw new IdempotencyError('unavailable', { retryAfterMs: 1_000, cause: error });
    if (record?.token === token) throw uncertain(error);
    return false;
  }
}

/**
 * The end of a step's transaction. Its statement is executed before the commit is sent, and locks the record's row; so a
 * commit without an answer is found out about by a renewal of the claim, which waits for its end.
 *
 * @returns, @throws as `commitAnswer`; and `lease-lost`.
 */
export async function commitStep(
  transaction: StoreTransaction,
  claim: CommittedClaim,
  step: StepRecord,
): Promise<boolean> {
  const { store, id, token, leaseMs, backendTimeoutMs } = claim;
  const bounded = <T>(work: () => Promise<T>) => within(backendTimeoutMs, 'The transaction', work);
  try {
    if (!(await bounded(() => transaction.recordStep(id, token, step)))) {
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
    const [isMine] = await findOut(claim, error, () => store.renew([{ id, token }], leaseMs));
    if (!isMine) throw leaseLost();
    const steps = await findOut(claim, error, () => store.steps!.list(id));
    if (!steps.some(({ name }) => name === step.name)) throw conflict(error);
    return true;
  }
}

/** @throws IdempotencyError `outcome-uncertain` when that cannot be told. */
async function findOut<T>(claim: CommittedClaim, cause: unknown, ask: () => Promise<T>): Promise<T> {
  try {
    return await within(claim.backendTimeoutMs, `Store ${claim.store.name}`, ask);
  } catch {
    throw uncertain(cause);
  }
}

function uncertain(cause: unknown): IdempotencyError {
  return new IdempotencyError('outcome-uncertain', {
    detail: 'The database did not say whether it committed. Ask again: the record tells.',
    retryAfterMs: 1_000,
    cause,
  });
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
