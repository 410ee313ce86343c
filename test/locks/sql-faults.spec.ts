import { setTimeout as sleep } from 'node:timers/promises';
import type { DataSource } from 'typeorm';
import { LockService } from '../../lib/locks/lock.service.js';
import { MARIADB, MYSQL, mysqlSaying, POSTGRES } from '../stores/typeorm-flavours.js';
import { it, lane } from '../support/lanes.js';
import { startProxy } from '../support/proxy.js';
import { startMariaDb, startPostgres } from '../../sample-app/servers/servers.js';
import {
  acquired,
  another,
  idOf,
  isFree,
  leased,
  locked,
  LONG_MS,
  portOf,
  rowCount,
  until,
  urlOf,
} from './sql-helpers.js';

lane.each([POSTGRES, MARIADB, MYSQL])('$name', (flavour) => {
  const isPostgres = flavour === POSTGRES;

  /** Ends all connections of other DataSources to this database. */
  async function endConnections(admin: DataSource): Promise<void> {
    if (isPostgres) {
      await admin.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()`,
      );
      return;
    }
    const sql = `SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()`;
    for (const { id } of await admin.query(sql)) await admin.query(`KILL ${id}`).catch(() => undefined);
  }

  async function proxied(changes: object = {}, lockOptions = {}) {
    const direct = await locked(flavour);
    const proxy = await startProxy(portOf(direct.options));
    const url = proxy.url(urlOf(direct.options));
    const { lock, dataSource } = await another(flavour, direct.options, { url, ...changes }, lockOptions);
    // What is asked of the server once is asked, and a connection is there.
    await isFree(lock, 'first');
    return { proxy, lock, dataSource, direct };
  }

  describe('G03 a lost reply', () => {
    it('of an attempt: one’s own lock is recognised at once', async () => {
      const { proxy, lock, direct } = await proxied();
      proxy.cutReply({ matching: 'token-1' });
      const began = performance.now();
      const fence = await acquired(lock, 'order', 'token-1', 5_000);
      expect(performance.now() - began).toBeLessThan(1_500);
      expect(proxy.cuts).toBe(1);
      expect(await direct.lock.acquire('order', 'other', LONG_MS)).toMatchObject({
        acquired: false,
        holder: 'token-1',
      });
      expect(await acquired(lock, 'order', 'token-1')).toBe(fence);
      await proxy.close();
    });

    it('of every attempt: it is unavailable, and what it left behind is given back', async () => {
      const { proxy, lock, direct } = await proxied();
      proxy.cutReply({ matching: idOf('order'), once: false });
      const service = new LockService(lock);
      const began = service.acquire('order', { ttlMs: LONG_MS });
      // Twice the attempt, and then the release: all of them were executed.
      for (let cut = 0; cut < 3; cut++) await proxy.nextCut();
      proxy.pass();
      expect(await began).toMatchObject({ status: 'unavailable' });
      await until(() => isFree(direct.lock, 'order'));
      await proxy.close();
    });

    it('of an extension: it is sent again', async () => {
      const { proxy, lock } = await proxied();
      await acquired(lock, 'order', 'token-1');
      proxy.cutReply({ matching: 'token-1' });
      expect(await lock.extend([{ name: 'order', token: 'token-1' }], LONG_MS)).toEqual([true]);
      expect(proxy.cuts).toBe(1);
      await proxy.close();
    });

    it('of a release: nobody knows, and the lock is free', async () => {
      const { proxy, lock, direct } = await proxied();
      const service = new LockService(lock);
      const lease = await leased(service, 'order', LONG_MS);
      proxy.cutReply({ matching: lease.token });
      expect(await lease.release()).toBe('unknown');
      expect(await isFree(direct.lock, 'order')).toBe(true);
      await proxy.close();
    });

    it('or a lost request: the next one succeeds, and nothing is left behind', async () => {
      const { proxy, lock, direct } = await proxied();
      proxy.cutRequest({ matching: 'token-1' });
      await acquired(lock, 'order', 'token-1');
      expect(await lock.release('order', 'token-1')).toBe(true);
      expect(await isFree(direct.lock, 'order')).toBe(true);
      await proxy.close();
    });
  });

  describe('F18', () => {
    it('connections ended by an administrator: the lock is held on', async () => {
      const { options, dataSource: admin } = await locked(flavour);
      const { lock } = await another(flavour, options, quiet);
      const service = new LockService(lock);
      const lease = await leased(service, 'order', 900);
      for (let round = 0; round < 5; round++) {
        await endConnections(admin);
        await sleep(300);
        lease.assertHeld();
      }
      expect(await isFree((await another(flavour, options)).lock, 'order')).toBe(false);
      expect(await lease.release()).toBe('released');
    });

    it.each([
      [1, 'one more is made', expect.objectContaining({ acquired: false, holder: 'first' })],
      [
        2,
        'no third is made',
        expect.objectContaining({ message: expect.stringContaining('acquire failed') }),
      ],
    ])('a connection ended in the middle of an attempt, %i times: %s', async (kills, _, outcome) => {
      const { options, dataSource: admin, lock: holder } = await locked(flavour);
      const { lock } = await another(flavour, options, quiet);
      await acquired(holder, 'order', 'first');
      const unlock = await rowLocked(admin, 'order');
      const attempt = lock.acquire('order', 'mine', LONG_MS).catch((error: Error) => error);
      const ended = new Set<number>();
      for (let kill = 1; kill <= kills; kill++) {
        await until(async () => {
          for (const id of await endWaiting(admin)) ended.add(id);
          return ended.size === kill;
        });
      }
      await sleep(100);
      await unlock();
      expect(await attempt).toEqual(outcome);
      expect(await isFree(lock, 'another')).toBe(true);
    });

    it.each<[string, object, RegExp]>([
      isPostgres
        ? ['statement_timeout', { extra: { options: '-c statement_timeout=200' } }, /statement timeout/]
        : [
            'max_statement_time',
            { driver: mysqlSaying('SET max_statement_time = 0.2') },
            /max_statement_time/,
          ],
      ['a row somebody sits on', {}, /lock timeout|Lock wait timeout/],
    ])('%s is "unavailable", not "busy", and costs the pool no connection', async (_, changes, message) => {
      const { options, dataSource: admin } = await locked(flavour);
      const { lock } = await another(flavour, options, { poolSize: 2, ...changes });
      await isFree(lock, 'order');
      const unlock = await rowLocked(admin, 'order');
      // MySQL has no way to say it for one statement.
      const isPatient = flavour === MYSQL && !('driver' in changes);
      const service = new LockService(lock, { backendTimeoutMs: isPatient ? 500 : 6_000 });
      const result = await service.acquire('order', { ttlMs: LONG_MS });
      expect(result).toMatchObject({
        status: 'unavailable',
        cause: expect.objectContaining({
          message: expect.stringMatching(isPatient ? /did not answer/ : message),
        }),
      });
      for (let i = 0; i < 4; i++) expect(await isFree(lock, 'another')).toBe(true);
      await unlock();
      await until(() => isFree(lock, 'order'));
    });

    it('a pool whose connections are all taken is "unavailable", and what waited for one is not sent later', async () => {
      const { options, dataSource: admin, lock: other } = await locked(flavour);
      const { lock, dataSource } = await another(flavour, options, { poolSize: 2 });
      const service = new LockService(lock, { backendTimeoutMs: 300 });
      const before = await rowCount(admin);
      const runners = [dataSource.createQueryRunner(), dataSource.createQueryRunner()];
      for (const runner of runners) await runner.startTransaction();
      const attempts = ['a', 'b', 'c', 'd'].map((name) => service.acquire(name, { ttlMs: LONG_MS }));
      for (const attempt of attempts) expect(await attempt).toMatchObject({ status: 'unavailable' });
      for (const runner of runners) {
        await runner.commitTransaction();
        await runner.release();
      }
      expect(await isFree(lock, 'e')).toBe(true);
      await sleep(50);
      expect(await rowCount(admin)).toBe(before + 1);
      expect(await isFree(other, 'a')).toBe(true);
    });
  });

  describe('G85', () => {
    it('a server that is gone is an error, and no more once it is back', async () => {
      const { proxy, lock } = await proxied();
      await acquired(lock, 'order', 'mine');
      proxy.closeConnections();
      proxy.cutRequest({ once: false });
      for (const call of [
        () => lock.acquire('other', 'mine', LONG_MS),
        () => lock.extend([{ name: 'order', token: 'mine' }], LONG_MS),
        () => lock.release('order', 'other'),
        () => lock.sweep(10),
      ]) {
        await expect(call()).rejects.toHaveProperty(
          'cause.code',
          expect.stringMatching(/ECONN|PROTOCOL|EPIPE/),
        );
      }
      proxy.pass();
      expect(await lock.extend([{ name: 'order', token: 'mine' }], LONG_MS)).toEqual([true]);
      expect(await lock.release('order', 'mine')).toBe(true);
      await proxy.close();
    });

    it('a connection that says nothing any more is given up and makes room in the pool', async () => {
      const { proxy, lock, direct } = await proxied({ poolSize: 1 }, { answerMs: 300 });
      proxy.drop();
      const began = performance.now();
      await expect(lock.acquire('order', 'mine', LONG_MS)).rejects.toThrow('No answer within 300 ms');
      expect(performance.now() - began).toBeLessThan(1_000);
      proxy.pass();
      expect(await isFree(lock, 'another')).toBe(true);
      expect(await isFree(direct.lock, 'another')).toBe(true);
      await proxy.close();
    });

    it('a late attempt is followed by the release of who gave up: a paused server', async () => {
      await using server = await (isPostgres ? startPostgres() : startMariaDb());
      const changes = { url: await server.createDatabase() };
      const { options } = await locked({
        ...flavour,
        create: async () => ({ type: isPostgres ? 'postgres' : 'mysql', ...changes }),
      });
      const { lock } = await another(flavour, options, { poolSize: 3 });
      await isFree(lock, 'order');
      const service = new LockService(lock, { backendTimeoutMs: 300 });
      await server.pause();
      const attempt = lock.acquire('order', 'late', LONG_MS).catch(() => undefined);
      await sleep(50);
      // By another connection it would come first, and find nothing to release.
      const released = lock.release('order', 'late');
      await server.resume();
      await attempt;
      expect(await released).toBe(true);

      await server.pause();
      // More than there are connections: some are sent late, some never.
      const names = ['a', 'b', 'c', 'd', 'e'];
      const attempts = names.map((name) => service.acquire(name, { ttlMs: LONG_MS }));
      for (const attempt of attempts) expect(await attempt).toMatchObject({ status: 'unavailable' });
      await server.resume();
      for (const name of names) await until(() => isFree(lock, name));
      await sleep(200);
      for (const name of names) expect(await isFree(lock, name)).toBe(true);
    });
  });

  /** As applications do who do not want to read about it. */
  const quiet = isPostgres ? { poolErrorHandler: () => undefined } : {};

  /** Ends connections that wait for a row, and tells which. */
  async function endWaiting(admin: DataSource): Promise<number[]> {
    const sql = isPostgres
      ? `SELECT pid AS id, pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'`
      : `SELECT id FROM information_schema.processlist
         WHERE db = DATABASE() AND id <> CONNECTION_ID() AND info LIKE '%INSERT INTO%'`;
    const ids = (await admin.query<{ id: number | string }[]>(sql)).map(({ id }) => Number(id));
    if (!isPostgres) for (const id of ids) await admin.query(`KILL ${id}`).catch(() => undefined);
    return ids;
  }
});

/** Sits on the row of a lock until the returned function is called. */
async function rowLocked(dataSource: DataSource, name: string): Promise<() => Promise<void>> {
  const runner = dataSource.createQueryRunner();
  await runner.startTransaction();
  const rows = await runner.query(`SELECT id FROM idempotency_lock WHERE id = '${idOf(name)}' FOR UPDATE`);
  expect(rows).toHaveLength(1);
  return async () => {
    await runner.commitTransaction();
    await runner.release();
  };
}
