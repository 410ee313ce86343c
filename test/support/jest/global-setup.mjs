import '../loader.mjs';

/** One Redis, one PostgreSQL and one MariaDB for the whole run; the workers inherit the environment. */
export default async function globalSetup({ testNamePattern }) {
  const { startMariaDb, startPostgres, startRedis } = await import('../../../sample-app/servers/servers.ts');
  const { compileTree } = await import('./compiled-tree.mjs');
  const [redis, postgres, mariaDb, compiled] = await Promise.all([
    startRedis(),
    startPostgres(),
    startMariaDb(),
    compileTree(),
  ]);
  Object.assign(process.env, {
    TEST_REDIS_URL: redis.url,
    TEST_POSTGRES_URL: postgres.url,
    TEST_MARIADB_URL: mariaDb.url,
    TEST_COMPILED: compiled.folder,
    ...(testNamePattern ? { TEST_NAME_PATTERN: testNamePattern } : {}),
  });
  globalThis.sharedForTests = [redis, postgres, mariaDb, compiled];
}
