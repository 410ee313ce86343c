import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import libsql from 'libsql';
import { type LockDriver, memoryLock, memoryStore, type ResultStore } from 'nestjs-idempotent';
import { redisLock } from 'nestjs-idempotent/locks/redis';
import { redisStore } from 'nestjs-idempotent/stores/redis';
import { idempotencyMigrations, typeOrmStore } from 'nestjs-idempotent/stores/typeorm';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { started } from '../../sample-app/servers/cleanup.js';
import { redisClient } from './redis-client.js';
import { sharedMariaDb, sharedPostgres, sharedRedisUrl } from './shared-servers.js';

/** What results are kept in. Empty for every spec file, shared by its tests: let them differ in their keys. */
export interface StoreCase {
  readonly name: string;
  readonly open: () => Promise<ResultStore>;
}

export interface LockCase {
  readonly name: string;
  readonly open: () => LockDriver | undefined;
}

export interface BackendCase {
  readonly name: string;
  readonly open: () => Promise<Backend>;
}

/** For the options of the module. */
export interface Backend {
  readonly store: ResultStore;
  readonly lock?: LockDriver;
}

const keyPrefix = `t${randomBytes(4).toString('hex')}:`;

export const STORES: readonly StoreCase[] = [
  { name: 'memory', open: async () => memoryStore() },
  { name: 'redis', open: once(async () => redisStore({ client: redisClient(sharedRedisUrl()), keyPrefix })) },
  sql('PostgreSQL', async () => ({ type: 'postgres', url: await sharedPostgres().createDatabase() })),
  sql('MariaDB', async () => ({ type: 'mariadb', url: await sharedMariaDb().createDatabase() })),
  sql('SQLite', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'idempotent-'));
    started({ stop: () => rm(folder, { recursive: true, force: true }) });
    return { type: 'better-sqlite3', database: join(folder, 'store.db'), driver: libsql };
  }),
];

export const LOCKS: readonly LockCase[] = [
  { name: 'none', open: () => undefined },
  { name: 'memory', open: () => memoryLock() },
  { name: 'redis', open: () => redisLock({ client: redisClient(sharedRedisUrl()), keyPrefix }) },
];

/** Every lock before every store. */
export const BACKENDS: readonly BackendCase[] = LOCKS.flatMap((lock) =>
  STORES.map((store) => ({
    name: `lock ${lock.name}, store ${store.name}`,
    open: async () => {
      const driver = lock.open();
      return { store: await store.open(), ...(driver ? { lock: driver } : {}) };
    },
  })),
);

function sql(name: string, database: () => Promise<DataSourceOptions>): StoreCase {
  const open = once(async () => {
    const options = { ...(await database()), migrations: idempotencyMigrations, migrationsRun: true };
    const dataSource = await new DataSource(options).initialize();
    started({ stop: () => dataSource.destroy() });
    return typeOrmStore({ dataSource });
  });
  return { name, open };
}

/** Made when it is asked for first; afterwards the same again. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}
