import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import libsql from 'libsql';
import mysql2 from 'mysql2';
import { DataSource, type DataSourceOptions } from 'typeorm';
import {
  idempotencyMigrations,
  type TypeOrmStore,
  typeOrmStore,
  type TypeOrmStoreOptions,
} from '../../lib/stores/typeorm/index.js';
import { sharedMariaDb, sharedPostgres } from '../support/shared-servers.js';

/** A database and a way to use it. */
export interface Flavour {
  readonly name: string;
  /** A fresh database: options of any number of DataSources on it. */
  readonly create: () => Promise<DataSourceOptions>;
  readonly storeOptions?: Partial<TypeOrmStoreOptions>;
}

export const POSTGRES: Flavour = {
  name: 'PostgreSQL',
  create: async () => ({ type: 'postgres', url: await sharedPostgres().createDatabase() }),
};

export const MARIADB: Flavour = {
  name: 'MariaDB',
  create: async () => ({ type: 'mariadb', url: await sharedMariaDb().createDatabase() }),
};

export const MYSQL: Flavour = {
  name: 'MariaDB the way of MySQL',
  create: async () => ({ type: 'mysql', url: await sharedMariaDb().createDatabase() }),
  storeOptions: { returning: false },
};

export const SQLITE: Flavour = {
  name: 'SQLite',
  create: async () => ({ type: 'better-sqlite3', database: temporaryFile(), driver: libsql }),
};

/** One of each dialect. */
export const DATABASES = [POSTGRES, MARIADB, MYSQL, SQLITE];

/** The same with settings of the server, the session and the DataSource which SQL is easily broken by. */
export const ADVERSE: Flavour[] = [
  { ...POSTGRES, name: 'PostgreSQL with prepared statements', storeOptions: { preparedStatements: true } },
  {
    name: 'PostgreSQL, serializable, in Tokyo, in a schema, with a prefix',
    create: async (): Promise<DataSourceOptions> => {
      const url = await sharedPostgres().createDatabase();
      const admin = await open({ type: 'postgres', url });
      await admin.query('CREATE SCHEMA "my app"');
      await admin.destroy();
      const settings = '-c default_transaction_isolation=serializable -c TimeZone=Asia/Tokyo';
      return { type: 'postgres', url, schema: 'my app', entityPrefix: 'app_', extra: { options: settings } };
    },
  },
  ...[MARIADB, MYSQL].map(({ storeOptions, ...flavour }) => ({
    name: `${flavour.name}, latin1, simultaneous assignments, no backslashes, in Karachi`,
    create: async (): Promise<DataSourceOptions> => {
      const options = await flavour.create();
      const admin = await open(options);
      await admin.query('ALTER DATABASE CHARACTER SET latin1');
      await admin.destroy();
      const sqlMode = 'STRICT_ALL_TABLES,SIMULTANEOUS_ASSIGNMENT,NO_BACKSLASH_ESCAPES,ANSI_QUOTES';
      const driver = mysqlSaying(`SET sql_mode = '${sqlMode}', time_zone = '+05:00'`);
      return Object.assign({}, options, { driver });
    },
    storeOptions,
  })),
  {
    name: 'SQLite with a write-ahead log',
    create: async () => ({
      type: 'better-sqlite3',
      database: temporaryFile(),
      driver: libsql,
      enableWAL: true,
    }),
  },
];

export async function open(options: DataSourceOptions, changes: object = {}): Promise<DataSource> {
  return new DataSource({ ...options, ...changes }).initialize();
}

/** With the tables made by the migrations. */
export async function openMigrated(options: DataSourceOptions, changes: object = {}): Promise<DataSource> {
  return open(options, { migrations: idempotencyMigrations, migrationsRun: true, ...changes });
}

export function storeOf({ storeOptions }: Flavour, dataSource: DataSource): TypeOrmStore {
  return typeOrmStore({ dataSource, ...storeOptions });
}

/** `mysql2` whose connections begin with a statement. */
export function mysqlSaying(sql: string): object {
  return {
    ...mysql2,
    createPool(options: mysql2.PoolOptions) {
      const pool = mysql2.createPool(options);
      pool.on('connection', (connection) => void connection.query(sql));
      return pool;
    },
  };
}

const folders: string[] = [];

export function temporaryFile(): string {
  const folder = mkdtempSync(join(tmpdir(), 'idempotent-'));
  folders.push(folder);
  return join(folder, 'store.db');
}

afterAll(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});
