import { type Databases, mariaDbDatabases, postgresDatabases } from '../../sample-app/servers/servers.js';

/** The server all spec files of a run share; every worker has a database number of its own in it. */
export function sharedRedisUrl(): string {
  return `${fromEnvironment('TEST_REDIS_URL')}/${Number(process.env.JEST_WORKER_ID ?? 1) % 16}`;
}

/** The server all spec files of a run share. Make a database of your own in it. */
export function sharedPostgres(): Databases {
  return postgresDatabases(fromEnvironment('TEST_POSTGRES_URL'));
}

export function sharedMariaDb(): Databases {
  return mariaDbDatabases(fromEnvironment('TEST_MARIADB_URL'));
}

function fromEnvironment(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: the shared servers are started by Jest's global setup`);
  return value;
}
