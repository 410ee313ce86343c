import '../loader.mjs';

/** No test ends these servers, so nothing has to be on the disk. */
const POSTGRES = { args: ['-c', 'fsync=off', '-c', 'full_page_writes=off'] };
const MARIADB = { args: ['--innodb-flush-log-at-trx-commit=2', '--innodb-doublewrite=0'] };

/** One Redis, one PostgreSQL and one MariaDB for the whole run; the workers inherit the environment. */
export default async function globalSetup({ testNamePattern }) {
  const { startMariaDb, startPostgres, startRedis } = await import('../../../sample-app/servers/servers.ts');
  const { compileTree } = await import('./compiled-tree.mjs');
  const [redis, postgres, mariaDb, compiled] = await Promise.all([
    startRedis(),
    startPostgres(POSTGRES),
    startMariaDb(MARIADB),
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
