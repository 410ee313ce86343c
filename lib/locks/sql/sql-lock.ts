import { createHash, randomUUID } from 'node:crypto';
import type { DataSource } from 'typeorm';
import { ask } from '../../sql/ask.js';
import { MysqlDatabase } from '../../sql/mysql.database.js';
import { PostgresDatabase } from '../../sql/postgres.database.js';
import { sqliteDatabaseOf } from '../../sql/sqlite.database.js';
import { quotedTable, supported } from '../../sql/tables.js';
import { LOCK_TABLE } from '../../stores/typeorm/lock.table.js';
import { checkLockDelay, type LockDelayOptions } from '../lock-delay.js';
import { type AcquireAnswer, LockDriver, type LockRef } from '../lock-driver.js';
import { announcementsOf } from './announcements.js';
import { type Attempt, type Dialect, SWEEP_ID } from './dialects/dialect.js';
import { MysqlDialect } from './dialects/mysql.dialect.js';
import { PostgresDialect } from './dialects/postgres.dialect.js';
import { SqliteDialect } from './dialects/sqlite.dialect.js';
import { Takes } from './takes.js';

export interface SqlLockOptions extends LockDelayOptions {
  /** Where the table `idempotency_lock` is. Initialized before the first call. */
  readonly dataSource: DataSource;
  /**
   * PostgreSQL: sends statements under a name, so that a connection plans each only once (about half the time a
   * statement takes). Not behind PgBouncer before 1.21 in transaction mode.
   *
   * @default false
   */
  readonly preparedStatements?: boolean;
  /** @internal false: goes the way of MySQL on MariaDB, too. */
  readonly mariaDb?: boolean;
  /** @internal How long an answer may take before its connection is given up, in milliseconds. */
  readonly answerMs?: number;
}

/** An attempt that lost against a row which was free a moment later is made again this often. */
const ATTEMPTS_AT_MOST = 8;
/** A connection that has not answered for so many milliseconds is given up, and does not fill the pool for ever. */
const ANSWER_MS = 30_000;
/** Longer than one batch of the sweep takes, in milliseconds. */
const SWEEP_TTL_MS = 60_000;

/**
 * Locks in a table of PostgreSQL, MySQL, MariaDB or SQLite, on connections of a TypeORM DataSource but never
 * inside of the application's transactions: one that is not committed would hold up everybody else.
 *
 * A row is taken by a conditional upsert on its primary key, decided by the database under the row's lock and by
 * the database's clock (as in ShedLock's `SqlServerTime` statements), with a third way for an attempt that is sent
 * again. Excludes as long as what the database has committed is not lost, as it may be in a failover
 * to a replica that lags behind.
 *
 * Waiters are woken on PostgreSQL, by one further connection of the DataSource; elsewhere they look at intervals.
 *
 * Rows stay until they are swept. The module does that; without it call `sweep` now and then.
 */
export class SqlLock extends LockDriver {
  readonly name: string;
  override readonly watch?: NonNullable<LockDriver['watch']>;
  readonly #options: SqlLockOptions;
  readonly #delayMs: number;
  readonly #takes = new Takes();
  #dialect: Dialect | undefined;

  /**
   * @throws TypeError when an option is not what it should be.
   * @throws Error when the type of the DataSource is not supported.
   */
  constructor(options: SqlLockOptions) {
    super();
    checkOptions(options);
    this.#options = options;
    this.#delayMs = checkLockDelay(options);
    this.name = supported(options.dataSource.options.type);
    if (this.name === 'postgres') this.watch = (name, wake) => this.#watch(name, wake);
  }

  async acquire(name: string, token: string, ttlMs: number, leastFence: bigint = 0n): Promise<AcquireAnswer> {
    const id = idOf(name);
    const lease = { id, token, ttlMs: Math.ceil(ttlMs), delayMs: this.#delayMs };
    return this.#takes.during(id, token, (wanted) =>
      this.#ask('acquire', (dialect) =>
        attempt(dialect, { ...lease, leastFence: Number(leastFence), wanted }),
      ),
    );
  }

  extend(locks: readonly LockRef[], ttlMs: number): Promise<boolean[]> {
    if (!locks.length) return Promise.resolve([]);
    const held = locks.map(({ name, token }) => ({ id: idOf(name), token }));
    return this.#ask('extend', (dialect) =>
      twice(
        dialect,
        () => true,
        () => dialect.extend(held, Math.ceil(ttlMs), this.#delayMs),
      ),
    );
  }

  /** Is not sent twice: after a lost reply nobody could tell one's own release from having lost the lock. */
  async release(name: string, token: string): Promise<boolean> {
    const id = idOf(name);
    await this.#takes.callOff(id, token);
    return this.#ask('release', (dialect) => dialect.release(id, token));
  }

  override raiseFence(name: string, fence: bigint): Promise<void> {
    return this.#ask('raiseFence', (dialect) => dialect.raiseFence(idOf(name), Number(fence)));
  }

  /** One batch, by one process at a time. What an unfinished sweep has done is done. */
  override sweep(limit: number): Promise<number> {
    return this.#ask('sweep', async (dialect) => {
      const fence = await dialect.greatestFreeFence(limit);
      if (fence === undefined) return 0;
      const token = randomUUID();
      const lease = { id: SWEEP_ID, token, ttlMs: SWEEP_TTL_MS, delayMs: 0 };
      const turn = await attempt(dialect, { ...lease, leastFence: 0, wanted: () => true });
      if (!turn.acquired) return 0;
      try {
        // Raised and committed before rows go, and only those go which are below it.
        await dialect.raiseFloor(fence);
        return await dialect.deleteFree(limit, fence);
      } finally {
        // It runs out by itself, too.
        await dialect.release(SWEEP_ID, token).catch(() => false);
      }
    });
  }

  async #watch(name: string, wake: () => void): Promise<() => void> {
    const { dataSource } = this.#options;
    return this.#ask('watch', (dialect) =>
      announcementsOf(dataSource, dialect as PostgresDialect).watch(idOf(name), wake),
    );
  }

  #ask<T>(operation: string, work: (dialect: Dialect) => Promise<T>): Promise<T> {
    const { dataSource } = this.#options;
    return ask(
      { who: `idempotency lock (${this.name})`, operation, dataSource },
      () => (this.#dialect ??= createDialect(this.#options)),
      work,
    );
  }
}

/**
 * Locks in a table of the DataSource's database.
 *
 * @throws TypeError when an option is not what it should be.
 * @throws Error when the type of the DataSource is not supported.
 */
export function sqlLock(options: SqlLockOptions): SqlLock {
  return new SqlLock(options);
}

async function attempt(dialect: Dialect, wish: Attempt): Promise<AcquireAnswer> {
  for (let round = 0; round < ATTEMPTS_AT_MOST; round++) {
    const row = await twice(dialect, wish.wanted, () => dialect.acquire(wish));
    if (row?.token === wish.token) {
      const floor = Number(row.floor);
      if (Number(row.fence) > floor) return { acquired: true, fence: BigInt(row.fence) };
      // The clock is behind what it has been. The next attempt is the same sent again, and tells the fence.
      await dialect.lift(wish.id, wish.token, floor + 1);
      continue;
    }
    const left = row ? Number(row.free_at) - Number(row.now) : 0;
    if (row?.token && left > 0) return { acquired: false, retryAfterMs: left, holder: row.token };
    // It became free in between, or was made. The next attempt decides.
  }
  // Somebody else was faster every time.
  return { acquired: false, retryAfterMs: 1 };
}

/** Once more when the connection broke: the statement may or may not have been executed, and knows its own lock. */
async function twice<T>({ database }: Dialect, wanted: () => boolean, send: () => Promise<T>): Promise<T> {
  try {
    return await send();
  } catch (error) {
    if (!database.isDisconnect(error) || !wanted()) throw error;
    return send();
  }
}

/** Of the UTF-16 units: two lone surrogates would become the same UTF-8 bytes. */
function idOf(name: string): string {
  return createHash('sha256').update(name, 'utf16le').digest('hex');
}

function createDialect(options: SqlLockOptions): Dialect {
  const { dataSource, preparedStatements = false, mariaDb, answerMs = ANSWER_MS } = options;
  const table = quotedTable(dataSource, LOCK_TABLE);
  switch (supported(dataSource.options.type)) {
    case 'postgres': {
      const channel = `idempotency_lock_${createHash('sha1').update(table).digest('hex').slice(0, 16)}`;
      return new PostgresDialect(
        table,
        new PostgresDatabase(dataSource, preparedStatements, answerMs),
        channel,
      );
    }
    case 'mysql':
    case 'mariadb':
      return new MysqlDialect(table, new MysqlDatabase(dataSource, mariaDb, answerMs));
    case 'better-sqlite3':
      return new SqliteDialect(table, sqliteDatabaseOf(dataSource));
  }
}

function checkOptions(options: SqlLockOptions | undefined): void {
  const { dataSource } = options ?? {};
  if (typeof dataSource?.options?.type !== 'string') {
    const given = dataSource === undefined ? 'undefined' : `of type ${typeof dataSource}`;
    throw new TypeError(
      `sqlLock({ dataSource }): dataSource is ${given}; it must be a TypeORM DataSource, e.g. sqlLock({ dataSource: new DataSource(options) })`,
    );
  }
}
