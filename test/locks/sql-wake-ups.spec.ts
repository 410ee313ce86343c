import { setTimeout as sleep } from 'node:timers/promises';
import type { DataSource } from 'typeorm';
import { LockService } from '../../lib/locks/lock.service.js';
import type { SqlLock } from '../../lib/locks/sql/index.js';
import { MARIADB, open, openMigrated, POSTGRES, SQLITE } from '../stores/typeorm-flavours.js';
import { apart, it } from '../support/lanes.js';
import { startProcess } from '../support/processes.js';
import { startProxy } from '../support/proxy.js';
import { startPostgres } from '../../sample-app/servers/servers.js';
import { sharedPostgres } from '../support/shared-servers.js';
import { acquired, another, locked, LONG_MS, lockOf, portOf, until, urlOf } from './sql-helpers.js';

interface Watching {
  count: number;
  stop: () => void;
}

async function watching(lock: SqlLock, name = 'order'): Promise<Watching> {
  const seen = { count: 0, stop: () => undefined as void };
  seen.stop = await lock.watch!(name, () => seen.count++, 'a waiter');
  return seen;
}

/** Connections that listen. */
async function listeners(admin: DataSource): Promise<number[]> {
  const rows = await admin.query(
    `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
       AND (query LIKE 'LISTEN%' OR query = 'SELECT 1')`,
  );
  return rows.map(({ pid }: { pid: number }) => pid);
}

/** As applications do who do not want to read about it. */
const quiet = { poolErrorHandler: () => undefined };

/** How long after a release a waiter has the lock. */
async function handOff(holder: SqlLock, waiter: SqlLock): Promise<number> {
  const locks = new LockService(waiter);
  await acquired(holder, 'order', 'first');
  const waiting = locks.acquire('order', { ttlMs: LONG_MS, waitMs: 20_000 });
  // By then nobody polls but at the longest interval.
  await sleep(1_550);
  const began = performance.now();
  await holder.release('order', 'first');
  expect(await waiting).toMatchObject({ status: 'acquired' });
  const took = performance.now() - began;
  await locks.releaseAll();
  return took;
}

apart('G62 a waiter', () => {
  it('is woken by the release on PostgreSQL', async () => {
    const { options, lock } = await locked(POSTGRES);
    const { lock: second } = await another(POSTGRES, options);
    const took = [await handOff(lock, second), await handOff(second, lock), await handOff(lock, second)];
    // Far below the interval after which it looks for itself.
    expect(Math.min(...took)).toBeLessThan(300);
    expect(Math.max(...took)).toBeLessThan(700);
  });

  it.each([MARIADB, SQLITE])('looks for itself at intervals on $name', async (flavour) => {
    const { options, lock } = await locked(flavour);
    const { lock: second } = await another(flavour, options);
    expect(lock.watch).toBeUndefined();
    expect(await handOff(lock, second)).toBeLessThan(1_200);
  });
});

apart('releases', () => {
  it('are announced only if somebody waits, and then to everybody who does', async () => {
    const { options, dataSource, lock } = await locked(POSTGRES);
    const { lock: second } = await another(POSTGRES, options);
    const there = [await watching(lock), await watching(second), await watching(second)];
    const elsewhere = await watching(second, 'another order');
    const told: string[] = [];
    await listenToAll(dataSource, (payload) => told.push(payload));
    for (const name of ['order', 'nobody waits', 'another order', 'order']) {
      await acquired(lock, name, 'mine');
      expect(await lock.release(name, 'mine')).toBe(true);
    }
    await until(() => there.every(({ count }) => count === 2) && elsewhere.count === 1);
    expect(told).toHaveLength(3);
    for (const { stop } of [...there, elsewhere]) stop();
  });

  it('of a lock that was taken over while somebody waited are announced, too', async () => {
    const { lock } = await locked(POSTGRES);
    await acquired(lock, 'order', 'first', 50);
    const waiter = await watching(lock);
    await sleep(60);
    await acquired(lock, 'order', 'second');
    await lock.release('order', 'second');
    await until(() => waiter.count === 1);
    waiter.stop();
  });

  /** What arrives on the channel of our locks, seen from outside. */
  async function listenToAll(dataSource: DataSource, told: (payload: string) => void): Promise<void> {
    const [{ channel }] = await dataSource.query(
      `SELECT substring(query from 8) AS channel FROM pg_stat_activity
       WHERE datname = current_database() AND query LIKE 'LISTEN%' LIMIT 1`,
    );
    const runner = dataSource.createQueryRunner();
    const client = await runner.connect();
    await client.query(`LISTEN ${channel}`);
    client.on('notification', ({ payload }: { payload: string }) => told(payload));
    const release = dataSource.destroy.bind(dataSource);
    dataSource.destroy = async () => {
      await client.query('UNLISTEN *');
      await runner.release();
      await release();
    };
  }
});

apart('the connection that listens', () => {
  it('is made at the first watch, is one for all locks of a DataSource, and ends with it', async () => {
    const { options, dataSource: admin } = await locked(POSTGRES);
    const { dataSource, lock } = await another(POSTGRES, options);
    await acquired(lock, 'order', 'mine');
    expect(await listeners(admin)).toEqual([]);
    const all = await Promise.all([
      watching(lock),
      watching(lock, 'b'),
      watching(lockOf(POSTGRES, dataSource), 'c'),
    ]);
    expect(await listeners(admin)).toHaveLength(1);
    for (const { stop } of all) stop();
    await dataSource.destroy();
    expect(await listeners(admin)).toEqual([]);

    await dataSource.initialize();
    const waiter = await watching(lock);
    expect(await listeners(admin)).toHaveLength(1);
    await lock.release('order', 'mine');
    await until(() => waiter.count === 1);
  });

  it('is made anew when it is ended, and wakes for what may have been missed', async () => {
    const { options, dataSource: admin, lock: other } = await locked(POSTGRES);
    const { lock } = await another(POSTGRES, options, quiet);
    await acquired(other, 'order', 'mine');
    const waiter = await watching(lock);
    for (let round = 1; round < 3; round++) {
      const [pid] = await listeners(admin);
      await admin.query('SELECT pg_terminate_backend($1)', [pid]);
      await until(async () => (await listeners(admin)).some((one) => one !== pid));
      await until(() => waiter.count === round);
    }
    await other.release('order', 'mine');
    await until(() => waiter.count === 3);
    waiter.stop();
  });

  it('is made anew when the server is, and nobody who waits misses the lock', async () => {
    await using server = await startPostgres();
    const create = async () => ({ type: 'postgres' as const, url: await server.createDatabase(), ...quiet });
    const { lock } = await locked({ ...POSTGRES, create });
    await acquired(lock, 'order', 'first', 3_000);
    const waiting = new LockService(lock).acquire('order', { ttlMs: LONG_MS, waitMs: 20_000 });
    await sleep(200);
    await server.kill();
    await expect(watching(lock, 'another')).rejects.toThrow('watch failed');
    expect(await waiting).toMatchObject({ status: 'unavailable' });
    await server.restart();
    await until(async () => (await lock.acquire('order', 'second', LONG_MS)).acquired);
    await until(() =>
      watching(lock).then(
        () => true,
        () => false,
      ),
    );
  });

  it('that no message arrives on is none: a pooler in between, for instance', async () => {
    const { options, lock: holder } = await locked(POSTGRES);
    const { dataSource, lock } = await another(POSTGRES, options, quiet);
    // LISTEN reaches a session other than the one that is told: here one of another database.
    const { master } = dataSource.driver as unknown as { master: { options: { connectionString: string } } };
    master.options.connectionString = await sharedPostgres().createDatabase();
    await acquired(holder, 'order', 'first');
    await expect(watching(lock)).rejects.toThrow('No answer within');
    // It is not tried again for every waiter.
    const began = performance.now();
    await expect(watching(lock)).rejects.toThrow('broken');
    expect(performance.now() - began).toBeLessThan(500);
    expect(await handOff(holder, lock)).toBeLessThan(1_200);
  });

  it('cut off without a word is noticed and made anew', async () => {
    const { options, lock: other } = await locked(POSTGRES);
    const proxy = await startProxy(portOf(options));
    const { lock } = await another(POSTGRES, options, { url: proxy.url(urlOf(options)), ...quiet });
    await acquired(other, 'order', 'mine');
    const waiter = await watching(lock);
    expect(proxy.connections).toBe(2);
    proxy.drop();
    await sleep(100);
    proxy.closeConnections();
    proxy.pass();
    await until(() => waiter.count === 1);
    await other.release('order', 'mine');
    await until(() => waiter.count === 2);
    waiter.stop();
    await proxy.close();
  });

  it('does not keep a process alive', async () => {
    const options = await POSTGRES.create();
    await (await openMigrated(options)).destroy();
    const file = new URL('./fixtures/sql-watcher.ts', import.meta.url);
    await using watcher = startProcess(file, { args: [urlOf(options)] });
    await watcher.waitForLine(/watching/);
    const began = performance.now();
    expect(await watcher.exited).toMatchObject({ code: 0, stderr: '' });
    // The pool's own idle connections may stay for a while.
    expect(performance.now() - began).toBeLessThan(5_000);
    const admin = await open(options);
    await until(async () => (await listeners(admin)).length === 0);
    await admin.destroy();
  });
});
