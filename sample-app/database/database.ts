import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { DataSource, type EntityManager } from 'typeorm';

type Work<T> = (manager: EntityManager) => Promise<T>;

/**
 * How the services reach the database.
 *
 * A server gives every transaction a connection of its own. SQLite in TypeORM is one connection: what runs while
 * a transaction is open belongs to it. So there everything waits for its turn, inside of the process.
 */
@Injectable()
export class Database {
  private readonly isOneConnection: boolean;
  private lastTurn: Promise<unknown> = Promise.resolve();

  constructor(@InjectDataSource() private readonly dataSource: DataSource) {
    this.isOneConnection = dataSource.options.type === 'better-sqlite3';
  }

  /** All or nothing. Begin with a write: SQLite gives the file to one writer at a time. */
  transaction<T>(work: Work<T>): Promise<T> {
    if (this.isOneConnection) return this.inTurn(() => this.dataSource.transaction(work));
    return this.dataSource.transaction('READ COMMITTED', work);
  }

  /** Sees only what is committed. */
  read<T>(work: Work<T>): Promise<T> {
    const { manager } = this.dataSource;
    return this.isOneConnection ? this.inTurn(() => work(manager)) : work(manager);
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.lastTurn.then(work);
    this.lastTurn = turn.catch(() => undefined);
    return turn;
  }
}
