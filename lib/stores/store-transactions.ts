import type { StoredResponse } from './result-store.js';
import type { StepRecord } from './step-store.js';

/**
 * What a handler writes with inside of a transaction: TypeORM's `EntityManager`. (It is declared to be that by
 * `nestjs-idempotent/stores/typeorm`, so that apps without TypeORM need not have it.)
 */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type
export interface TransactionManager {}

/** Stricter than the default of READ COMMITTED. */
export type IsolationLevel = 'READ COMMITTED' | 'REPEATABLE READ' | 'SERIALIZABLE';

/** Transactions in the database of the results. Only stores in databases have them. */
export interface StoreTransactions {
  /**
   * False: the database has one connection. While a transaction is open nothing else can be stored: claims, renewals and
   * steps wait for its end.
   */
  readonly isParallel: boolean;

  /**
   * @param id of the record that is completed in it, or given a step; null of a call that is not recorded.
   * @throws when there is no connection, or none in time.
   */
  begin(isolation: IsolationLevel | undefined, id: string | null): Promise<StoreTransaction>;
}

/**
 * One transaction: the application's writes through `manager`, and last of all the record's completion or its step. It
 * ends by exactly one of `complete`, `commit` and `rollback`; from then on `manager` refuses everything.
 */
export interface StoreTransaction {
  readonly manager: TransactionManager;

  /**
   * As `ResultStore.complete`, and commits. Refuses `manager` from now on.
   *
   * @returns false: the token does not own the record any more. Nothing was committed, nor will be; roll it back.
   * @throws when it did not commit, or when nobody knows; see `hasAnswered`.
   */
  complete(id: string, token: string, response: StoredResponse, retentionMs: number): Promise<boolean>;

  /** As `StepStore.record`; `commit` follows. Refuses `manager` from now on. */
  recordStep(id: string, token: string, step: StepRecord): Promise<boolean>;

  /** @throws when it did not commit, or when nobody knows; see `hasAnswered`. */
  commit(): Promise<void>;

  /** Nothing was written. Never rejects; a connection that does not answer is given up. */
  rollback(): Promise<void>;

  /** Whether the transaction is a victim of others and worth being run again: by this error, or by one before it. */
  gaveWay(error: unknown): boolean;

  /** Whether it is certain after an error of `complete` or `commit` that nothing was committed. Else nobody knows. */
  hasAnswered(error: unknown): boolean;
}
