import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import libsql from 'libsql';
import { DataSource, type DataSourceOptions } from 'typeorm';
import {
  idempotencyMigrations,
  typeOrmStore,
  type TypeOrmStoreOptions,
} from '../../lib/stores/typeorm/index.js';
import { sharedMariaDb, sharedPostgres } from '../support/servers.js';
import { describeStore, type StoreUnderTest } from '../support/store-suite.js';

interface Flavour {
  readonly name: string;
  /** A fresh database: options of DataSources on it. */
  readonly create: () => Promise<DataSourceOptions>;
  readonly storeOptions?: Partial<TypeOrmStoreOptions>;
}

const FLAVOURS: Flavour[] = [
  {
    name: 'PostgreSQL',
    create: async () => ({ type: 'postgres', url: await sharedPostgres().createDatabase() }),
  },
  {
    name: 'PostgreSQL with prepared statements',
    create: async () => ({ type: 'postgres', url: await sharedPostgres().createDatabase() }),
    storeOptions: { preparedStatements: true },
  },
  {
    name: 'MariaDB',
    create: async () => ({ type: 'mariadb', url: await sharedMariaDb().createDatabase() }),
  },
  {
    name: 'MariaDB the way of MySQL',
    create: async () => ({ type: 'mysql', url: await sharedMariaDb().createDatabase() }),
    storeOptions: { returning: false },
  },
  { name: 'SQLite', create: () => sqliteFile() },
];

const folders: string[] = [];

async function sqliteFile(): Promise<DataSourceOptions> {
  const folder = await mkdtemp(join(tmpdir(), 'idempotent-'));
  folders.push(folder);
  return { type: 'better-sqlite3', database: join(folder, 'store.db'), driver: libsql };
}

afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true }))));

async function open(options: DataSourceOptions, changes: object = {}): Promise<DataSource> {
  return new DataSource({ ...options, ...changes }).initialize();
}

async function openMigrated(options: DataSourceOptions, changes: object = {}): Promise<DataSource> {
  return open(options, { migrations: idempotencyMigrations, migrationsRun: true, ...changes });
}

async function twoStores({ create, storeOptions }: Flavour): Promise<StoreUnderTest> {
  const options = await create();
  const dataSource = await openMigrated(options);
  const second = await open(options);
  return {
    store: typeOrmStore({ dataSource, ...storeOptions }),
    second: typeOrmStore({ dataSource: second, ...storeOptions }),
    cleanup: () => Promise.all([dataSource.destroy(), second.destroy()]),
  };
}

for (const flavour of FLAVOURS) describeStore(flavour.name, () => twoStores(flavour));
