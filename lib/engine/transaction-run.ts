import { catchError, concat, defer, ignoreElements, isObservable, type Observable } from 'rxjs';
import { leaseLost } from '../idempotency.errors.js';
import type { StoredResponse } from '../stores/result-store.js';
import type { StoreTransaction, StoreTransactions } from '../stores/store-transactions.js';
import { pause } from './backend.js';
import type { Ownership, Settlement } from './ownership.js';
import type { CallPolicy, TransactionTerms } from './policy.js';
import { beginWithin, rollbackWhenLost } from './step-transaction.js';

/** Longest pause before a transaction is run again, in milliseconds. The first is a tenth of it. */
const LONGEST_PAUSE_MS = 200;

/** Told which transaction the body runs in, so that it can be had below. */
export interface TransactionUser {
  bodyBegins(transaction?: StoreTransaction): void;
}

/**
 * The transactions of one call: one after the other, as long as the database rolls them back in favour of others.
 *
 * The claim was committed before, so others see the call running. A transaction stays open when the body has
 * succeeded, until `commit` records the answer in it. When ownership is lost it is rolled back at once: its writes
 * would not be committed any more, and its locks stand in the successor's way.
 */
export class TransactionRun {
  private open: StoreTransaction | undefined;
  private runs = 0;
  private stopListening: (() => void) | undefined;

  /** @param ownership null: the call is unprotected; its transaction is committed when the body has ended. */
  constructor(
    private readonly transactions: StoreTransactions,
    private readonly terms: TransactionTerms,
    private readonly policy: Pick<CallPolicy, 'backendTimeoutMs'>,
    private readonly ownership: Ownership | null,
    private readonly user: TransactionUser,
  ) {}

  /** Runs the body in a transaction. @throws what it throws, with the transaction rolled back. */
  async run(body: () => unknown): Promise<unknown> {
    for (;;) {
      await this.rollback();
      const transaction = await this.begin();
      try {
        const value = await body();
        if (this.ownership) return value;
        if (isObservable(value)) return this.endedAfter(value);
        await this.end();
        return value;
      } catch (error) {
        await this.rollback();
        // Whatever it says: it was done to a transaction that was gone.
        if (this.ownership?.isHeld() === false) throw leaseLost();
        if (!transaction.gaveWay(error) || !this.mayRunAgain) throw error;
      }
      await this.pause();
    }
  }

  /**
   * Records the answer as the last statement of the transaction, and commits both.
   *
   * @throws IdempotencyError `transaction-conflict`, `transaction-failed`: nothing was written and the key is free.
   * `outcome-uncertain`: the database did not answer; what it did it will tell whoever asks next.
   */
  async commit(response: StoredResponse): Promise<Settlement> {
    const { open: transaction, ownership } = this;
    if (!transaction || !ownership) throw new Error('There is no transaction to record an answer in');
    // Lost meanwhile. What was written is gone, so there is nothing to be recorded.
    if (!ownership.isHeld()) {
      await this.rollback();
      return ownership.giveUp();
    }
    this.forget();
    return ownership.commit(transaction, response);
  }

  /** Whether the body has left a transaction that is to be committed; also one that was lost with the key. */
  get isOpen(): boolean {
    return this.open !== undefined;
  }

  /** Whether a transaction that the database rolled back may be run again. */
  get mayRunAgain(): boolean {
    return this.runs <= this.terms.retries;
  }

  async pause(): Promise<void> {
    await pause(Math.min(LONGEST_PAUSE_MS, 20 * 2 ** (this.runs - 1)) * Math.random());
  }

  async rollback(): Promise<void> {
    const transaction = this.open;
    this.forget();
    await transaction?.rollback();
  }

  private async begin(): Promise<StoreTransaction> {
    this.runs++;
    const { backendTimeoutMs } = this.policy;
    const { transactions, ownership } = this;
    const transaction = await beginWithin(transactions, backendTimeoutMs, ownership, this.terms.isolation);
    this.open = transaction;
    this.stopListening = rollbackWhenLost(transaction, this.ownership);
    this.user.bodyBegins(transaction);
    return transaction;
  }

  private endedAfter(values: Observable<unknown>): Observable<unknown> {
    const end = defer(() => this.end()).pipe(ignoreElements());
    return concat(values, end).pipe(
      catchError(async (error: unknown) => {
        await this.rollback();
        throw error;
      }),
    );
  }

  private async end(): Promise<void> {
    const transaction = this.open!;
    this.forget();
    try {
      await transaction.commit();
    } catch (error) {
      await transaction.rollback();
      throw error;
    }
  }

  private forget(): void {
    this.stopListening?.();
    this.open = undefined;
  }
}
