import type { DataSource } from 'typeorm';
import { checkQuorumOptions, type QuorumOptions } from '../quorum/options.js';
import { QuorumLock } from '../quorum/quorum.lock.js';
import { SqlLock, type SqlLockOptions } from './sql-lock.js';

export interface SqlQuorumOptions extends QuorumOptions, Omit<SqlLockOptions, 'dataSource'> {
  /**
   * One DataSource for each database; an odd number, at least three. The databases are on servers that share
   * nothing, each with its table `idempotency_lock`, and may be of different kinds. No database is a replica of
   * another. A node that hangs fills its DataSource's pool: give each a DataSource of its own.
   */
  readonly dataSources: readonly DataSource[];
}

/**
 * Locks on a majority of independent databases, see `QuorumLock`. They hold while a minority of the databases is
 * down or hangs. A database that comes back remembers what it has granted, as long as it was committed to disk:
 * not with `fsync` or `synchronous_commit` (PostgreSQL) or `innodb_flush_log_at_trx_commit` (MySQL) switched
 * off.
 */
export class SqlQuorumLock extends QuorumLock {
  /** @throws TypeError when an option is not what it should be. */
  constructor(options: SqlQuorumOptions) {
    const { dataSources, ...rest } = checked(options);
    const locks = dataSources.map((dataSource) => new SqlLock({ ...rest, dataSource }));
    super(
      'sql-quorum',
      locks.map((driver) => ({ driver })),
      options,
    );
  }
}

/**
 * Locks on a majority of independent databases, by the DataSources you give.
 *
 * @throws TypeError when an option is not what it should be.
 */
export function sqlQuorumLock(options: SqlQuorumOptions): SqlQuorumLock {
  return new SqlQuorumLock(options);
}

function checked(options: SqlQuorumOptions): SqlQuorumOptions {
  const dataSources: unknown = options?.dataSources;
  const fix = 'give one TypeORM DataSource for each database, e.g. three of independent servers';
  if (!Array.isArray(dataSources) || dataSources.length === 0) {
    throw new TypeError(`sqlQuorumLock({ dataSources }): there is no DataSource; ${fix}`);
  }
  dataSources.forEach((dataSource: unknown, index) => {
    const which = `sqlQuorumLock({ dataSources }): dataSources[${index}]`;
    if (typeof (dataSource as DataSource | undefined)?.options?.type !== 'string') {
      throw new TypeError(`${which} is no TypeORM DataSource; ${fix}`);
    }
    const first = dataSources.indexOf(dataSource);
    if (first < index) {
      throw new TypeError(`${which} is dataSources[${first}] once more; each database has one vote; ${fix}`);
    }
  });
  checkQuorumOptions('sqlQuorumLock', options);
  return options;
}
