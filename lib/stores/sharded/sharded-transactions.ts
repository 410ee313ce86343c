import type { ResultStore, StoredResponse } from '../result-store.js';
import type { StepRecord } from '../step-store.js';
import type { IsolationLevel, StoreTransaction, StoreTransactions } from '../store-transactions.js';
import type { Homes } from './homes.js';

/** Transactions in the database of the record's shard. Where it has two places, in the leading one. */
export class ShardedTransactions implements StoreTransactions {
  constructor(private readonly homes: Homes) {}

  get isParallel(): boolean {
    return this.homes.stores.every((store) => store.transactions!.isParallel);
  }

  async begin(isolation: IsolationLevel | undefined, id: string | null): Promise<StoreTransaction> {
    if (id === null) {
      throw new Error(
        'A call that is not recorded belongs to no shard, so there is no database for its transaction',
      );
    }
    const { places, lead } = this.homes.of(id);
    const transaction = await lead.transactions!.begin(isolation, id);
    const other = places.find((place) => place !== lead);
    return other ? new FollowedTransaction(transaction, other) : transaction;
  }
}

/**
 * Tells the other place what was committed. Not waited for, and nothing depends on it: who asks both places finds the
 * answer in the leading one.
 */
class FollowedTransaction implements StoreTransaction {
  private follow: (() => Promise<boolean>) | undefined;

  constructor(
    private readonly transaction: StoreTransaction,
    private readonly other: ResultStore,
  ) {}

  get manager(): StoreTransaction['manager'] {
    return this.transaction.manager;
  }

  async complete(id: string, token: string, response: StoredResponse, retentionMs: number): Promise<boolean> {
    const isMine = await this.transaction.complete(id, token, response, retentionMs);
    if (isMine) this.other.complete(id, token, response, retentionMs).catch(() => undefined);
    return isMine;
  }

  recordStep(id: string, token: string, step: StepRecord): Promise<boolean> {
    this.follow = async () => (await this.other.steps?.record(id, token, step)) ?? false;
    return this.transaction.recordStep(id, token, step);
  }

  async commit(): Promise<void> {
    await this.transaction.commit();
    this.follow?.().catch(() => undefined);
  }

  rollback(): Promise<void> {
    return this.transaction.rollback();
  }

  gaveWay(error: unknown): boolean {
    return this.transaction.gaveWay(error);
  }

  hasAnswered(error: unknown): boolean {
    return this.transaction.hasAnswered(error);
  }
}
