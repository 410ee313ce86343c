import { sharedMariaDb, sharedPostgres, sharedRedisUrl } from '../support/shared-servers.js';
import { sqliteUrl, type Variables } from './sample-app.js';

const REDIS = () => ({ REDIS_URL: sharedRedisUrl() });

/** What the app runs on. Both platforms of a database start on it at the same time. */
export const BACKENDS: [name: string, variables: () => Promise<Variables>][] = [
  ['SQLite, lock in memory', async () => ({ DATABASE_URL: sqliteUrl() })],
  [
    'PostgreSQL, lock in Redis',
    async () => ({ DATABASE_URL: await sharedPostgres().createDatabase(), LOCK: 'redis', ...REDIS() }),
  ],
  [
    'MariaDB, lock in Redis',
    async () => ({ DATABASE_URL: await sharedMariaDb().createDatabase(), LOCK: 'redis', ...REDIS() }),
  ],
  [
    'results in PostgreSQL and MariaDB, no lock',
    async () => ({
      DATABASE_URL: `${await sharedPostgres().createDatabase()},${await sharedMariaDb().createDatabase()}`,
      LOCK: 'none',
      STORE: 'sharded',
    }),
  ],
  [
    'results in Redis, no lock',
    async () => ({
      DATABASE_URL: await sharedPostgres().createDatabase(),
      LOCK: 'none',
      STORE: 'redis',
      ...REDIS(),
    }),
  ],
];

/** An answer that is an RFC 9457 problem. */
export function problem(status: number, code: string) {
  return { status, json: expect.objectContaining({ status, code, title: expect.any(String) }) };
}
