import '../loader.mjs';

/** One Redis, one PostgreSQL and one MariaDB for the whole run; the workers inherit the environment. */
export default async function globalSetup({ testNamePattern }) {
  const { startMariaDb, startPostgres, startRedis } = await import('../../../sample-app/servers/servers.ts');
  const [redis, postgres, mariaDb] = await Promise.all([startRedis(), startPostgres(), startMariaDb()]);
  Object.assign(process.env, {
    TEST_REDIS_URL: redis.url,
    TEST_POSTGRES_URL: postgres.url,
    TEST_MARIADB_URL: mariaDb.url,
    ...(testNamePattern ? { TEST_NAME_PATTERN: testNamePattern } : {}),
  });
  globalThis.sharedTestServers = [redis, postgres, mariaDb];
}
