import { execFile, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { binary } from './server-binaries.js';
import {
  type Account,
  type Recipe,
  type Server,
  ServerProcess,
  accountForRoot,
  environmentIn,
} from './server-process.js';

export type { Server };

export interface RedisServer extends Server {}

export interface SqlServer extends Server, Databases {}

export interface Databases {
  readonly url: string;
  /** Makes an empty database and gives its URL. One of the same name is dropped first. */
  createDatabase: (name?: string) => Promise<string>;
}

export interface RedisOptions {
  /** Further configuration, e.g. `['--appendonly', 'yes']`. */
  args?: string[];
  port?: number;
  /** Keeps the data there and leaves the folder alone at the end. */
  dir?: string;
}

export interface SqlOptions {
  /** Further command line arguments, e.g. `['-c', 'TimeZone=Asia/Tokyo']`. */
  args?: string[];
  port?: number;
}

/** Persists nothing unless `args` say so: after a restart it is empty. */
export async function startRedis({ args = [], port, dir }: RedisOptions = {}): Promise<RedisServer> {
  const recipe: Recipe = {
    name: 'redis',
    command: binary('redis-server'),
    url: redisUrl,
    restartSignal: 'SIGTERM',
    stopSignal: 'KILL',
    args: (port, folder) => [
      ...['--port', String(port), '--bind', '127.0.0.1', '--dir', dir ?? folder],
      ...['--save', '', '--appendonly', 'no', '--daemonize', 'no', ...args],
    ],
    ping: pingRedis,
  };
  return ServerProcess.start(recipe, port);
}

/** Committed means on disk: a killed server comes back with everything it acknowledged. */
export async function startPostgres({ args = [], port }: SqlOptions = {}): Promise<SqlServer> {
  const user = accountForRoot('postgres');
  const recipe: Recipe = {
    name: 'postgres',
    command: binary('postgres'),
    url: postgresUrl,
    restartSignal: 'SIGINT',
    stopSignal: 'QUIT',
    user,
    args: (port, folder) => [
      ...['-D', join(folder, 'data'), '-p', String(port), '-h', '127.0.0.1'],
      ...[
        '-c',
        'unix_socket_directories=',
        '-c',
        'max_connections=300',
        '-c',
        'shared_buffers=64MB',
        ...args,
      ],
    ],
    prepare: (folder) =>
      run(
        binary('initdb'),
        [
          ...['-D', join(folder, 'data'), '-U', 'test', '-A', 'trust', '-E', 'UTF8', '--locale=C'],
          ...['--no-sync', '--no-instructions'],
        ],
        folder,
        user,
      ),
    ping: (port) => queryPostgres(postgresUrl(port), ['SELECT 1']),
    cleanUp: freeSharedMemory,
  };
  const server = await ServerProcess.start(recipe, port);
  return Object.assign(server, { createDatabase: postgresDatabases(server.url).createDatabase });
}

/** Committed means on disk here too. Serves the MySQL protocol. */
export async function startMariaDb({ args = [], port }: SqlOptions = {}): Promise<SqlServer> {
  const user = accountForRoot('mysql');
  const recipe: Recipe = {
    name: 'mariadb',
    command: binary('mariadbd'),
    url: mariaDbUrl,
    restartSignal: 'SIGTERM',
    stopSignal: 'KILL',
    user,
    args: (port, folder) => [
      ...['--no-defaults', `--datadir=${join(folder, 'data')}`, `--init-file=${join(folder, 'init.sql')}`],
      ...[`--port=${port}`, '--bind-address=127.0.0.1', '--skip-name-resolve', '--socket=server.sock'],
      ...['--pid-file=server.pid', '--max-connections=300', '--innodb-buffer-pool-size=64M', ...args],
    ],
    prepare: async (folder) => {
      writeFileSync(join(folder, 'init.sql'), MARIADB_INIT_SQL);
      mkdirSync(join(folder, 'data'));
      if (user) chownSync(join(folder, 'data'), user.uid, user.gid);
      await run(
        binary('mariadb-install-db'),
        [
          ...['--no-defaults', `--datadir=${join(folder, 'data')}`, '--skip-test-db'],
          '--auth-root-authentication-method=normal',
        ],
        folder,
        user,
      );
    },
    ping: (port) => queryMariaDb(mariaDbUrl(port), ['SELECT 1']),
  };
  const server = await ServerProcess.start(recipe, port);
  return Object.assign(server, { createDatabase: mariaDbDatabases(server.url).createDatabase });
}

const MARIADB_INIT_SQL = `
CREATE DATABASE IF NOT EXISTS test;
CREATE USER IF NOT EXISTS 'test'@'%' IDENTIFIED BY 'test';
GRANT ALL ON *.* TO 'test'@'%' WITH GRANT OPTION;
`;

function redisUrl(port: number): string {
  return `redis://127.0.0.1:${port}`;
}

function postgresUrl(port: number): string {
  return `postgres://test:test@127.0.0.1:${port}/postgres`;
}

function mariaDbUrl(port: number): string {
  return `mysql://test:test@127.0.0.1:${port}/test`;
}

export function postgresDatabases(url: string): Databases {
  return {
    url,
    createDatabase: async (name = freshName()) => {
      await queryPostgres(url, [
        `DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`,
        `CREATE DATABASE "${name}"`,
      ]);
      return withDatabase(url, name);
    },
  };
}

export function mariaDbDatabases(url: string): Databases {
  return {
    url,
    createDatabase: async (name = freshName()) => {
      await queryMariaDb(url, [`DROP DATABASE IF EXISTS \`${name}\``, `CREATE DATABASE \`${name}\``]);
      return withDatabase(url, name);
    },
  };
}

function freshName(): string {
  return `t_${randomBytes(6).toString('hex')}`;
}

function withDatabase(serverUrl: string, name: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
}

export async function pingRedis(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  try {
    socket.setTimeout(1_000, () => socket.destroy(new Error('no answer')));
    socket.write('PING\r\n');
    const [reply] = await once(socket, 'data');
    // Asking for a password is service, too.
    if (!/^(\+PONG|-NOAUTH)/.test(String(reply))) throw new Error(String(reply));
  } finally {
    socket.destroy();
  }
}

async function queryPostgres(url: string, statements: string[]): Promise<void> {
  const { default: pg } = await import('pg');
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  // A server that goes away is told by the query that fails.
  client.on('error', () => undefined);
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

async function queryMariaDb(url: string, statements: string[]): Promise<void> {
  const { createConnection } = await import('mysql2/promise');
  const connection = await createConnection({ uri: url, connectTimeout: 5_000 });
  try {
    for (const statement of statements) await connection.query(statement);
  } finally {
    await connection.end();
  }
}

async function run(command: string, args: string[], folder: string, account?: Account): Promise<void> {
  await promisify(execFile)(command, args, { cwd: folder, env: environmentIn(folder), ...account });
}

/** A killed PostgreSQL leaves a small segment of shared memory to its successor. There will be none. */
function freeSharedMemory(folder: string): void {
  try {
    const pidFile = readFileSync(join(folder, 'data/postmaster.pid'), 'utf8');
    const segment = pidFile.split('\n')[6]?.trim().split(/\s+/)[1];
    if (segment) spawnSync('ipcrm', ['-m', segment], { stdio: 'ignore' });
  } catch (error) {
    // It ended in an orderly way and took its file along.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
