import { setTimeout as sleep } from 'node:timers/promises';
import libsql from 'libsql';
import { idempotencyMigrations } from 'nestjs-idempotent/stores/typeorm';
import { DataSource, type DataSourceOptions, type QueryRunner } from 'typeorm';
import { Payout } from '../bank/payout.entity.js';
import { EnvironmentError } from '../config/environment.error.js';
import { shown } from '../config/environment.rules.js';
import { Order } from '../orders/order.entity.js';
import { Refund } from '../refunds/refund.entity.js';
import { CreateShopTables1763770000001 } from './shop-tables.migration.js';

const SHARED = {
  entities: [Order, Refund, Payout],
  migrations: [...idempotencyMigrations, CreateShopTables1763770000001],
};

/** How often the tables are made before giving up, where processes that start together can collide. */
const ATTEMPTS = 5;

export function dataSourceOptions(url: string): DataSourceOptions {
  if (url.startsWith('sqlite:')) {
    const database = url.slice('sqlite:'.length);
    // The API of better-sqlite3 from a package that brings its binary along.
    return { ...SHARED, type: 'better-sqlite3', driver: libsql, database, enableWAL: true };
  }
  if (url.startsWith('mysql:')) return { ...SHARED, type: 'mysql', url, charset: 'utf8mb4' };
  return { ...SHARED, type: 'postgres', url };
}

/** Connects, and brings the tables up to date. Several processes may do so at once. */
export async function openDatabase(options: DataSourceOptions): Promise<DataSource> {
  for (let attempt = 1; ; attempt++) {
    const dataSource = await connect(options);
    try {
      await oneProcessAtATime(dataSource, () => dataSource.runMigrations());
      return dataSource;
    } catch (error) {
      await dataSource.destroy();
      if (options.type !== 'better-sqlite3' || attempt === ATTEMPTS) throw error;
      // SQLite has no lock to wait for: who lost the race looks again what is left to do.
      await sleep(100 * attempt * Math.random());
    }
  }
}

async function connect(options: DataSourceOptions): Promise<DataSource> {
  try {
    return await new DataSource(options).initialize();
  } catch (cause) {
    const url = 'url' in options ? options.url : `sqlite:${String(options.database)}`;
    const { message, code } = cause as NodeJS.ErrnoException;
    const problem = `DATABASE_URL is ${shown(url)}; it must be a database that can be used: ${message || code}`;
    throw new EnvironmentError([problem], { cause });
  }
}

async function oneProcessAtATime(dataSource: DataSource, work: () => Promise<unknown>): Promise<void> {
  const lock = LOCKS[dataSource.options.type as keyof typeof LOCKS];
  if (!lock) return void (await work());
  const runner: QueryRunner = dataSource.createQueryRunner();
  try {
    await runner.query(lock.take);
    await work();
  } finally {
    await runner.query(lock.release);
    await runner.release();
  }
}

/** Locks of the session: they end with it. */
const LOCKS = {
  postgres: { take: 'SELECT pg_advisory_lock(1763770000)', release: 'SELECT pg_advisory_unlock(1763770000)' },
  mysql: {
    take: `SELECT GET_LOCK(CONCAT(DATABASE(), ':tables'), 60)`,
    release: `SELECT RELEASE_LOCK(CONCAT(DATABASE(), ':tables'))`,
  },
};
