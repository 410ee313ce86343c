import type { EntityManager } from 'typeorm';
import type { IsolationLevel, StoreTransaction, StoreTransactions } from '../store-transactions.js';
import type { Dialect } from './dialects/dialect.js';
import { OpenTransaction } from './open-transaction.js';

declare module '../store-transactions.js' {
  interface TransactionManager extends EntityManager {}
}

type Ask = <T>(operation: string, work: (dialect: Dialect) => Promise<T>) => Promise<T>;

/** Transactions on connections of the DataSource, which are the application's as well. */
export class TypeOrmTransactions implements StoreTransactions {
  constructor(
    private readonly ask: Ask,
    readonly isParallel: boolean,
  ) {}

  begin(isolation: IsolationLevel | undefined): Promise<StoreTransaction> {
    return this.ask('begin', (dialect) => OpenTransaction.begin(dialect, isolation));
  }
}
