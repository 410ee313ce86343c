import { setTimeout as sleep } from 'node:timers/promises';
import libsql from 'libsql';
import type { DataSource } from 'typeorm';
import { LockService } from '../../lib/locks/lock.service.js';
import { sqlLock } from '../../lib/locks/sql/index.js';
import { IdempotencySweeper } from '../../lib/operations/sweeper.js';
import { memoryStore } from '../../lib/stores/memory.store.js';
import { DATABASES, MARIADB, MYSQL, open, POSTGRES, SQLITE } from '../stores/typeorm-flavours.js';
import { acquired, age, another, idOf, isFree, locked, LONG_MS, rowCount, until } from './sql-helpers.js';
import { it, lane } from '../support/lanes.js';

lane.each(DATABASES)('$name', (flavour) => {
  describe('G14 fences', () => {
    it('grow from holder to holder, over releases, expiry, sweeps and the loss of the table', async () => {
      const { dataSource, lock } = await locked(flavour);
      let last = 0n;
      let swept = 0;
      for (let round = 0; round < 30; round++) {
        const runsOut = round % 3 === 0;
        const fence = await acquired(lock, 'order', `holder ${round}`, runsOut ? 5 : LONG_MS);
        expect(fence).toBeGreaterThan(last);
        last = fence;
        if (runsOut) await sleep(8);
        else await lock.release('order', `holder ${round}`);
        if (round % 5 === 2) {
          await age(dataSource);
          swept += await lock.sweep(10);
        }
        if (round % 5 === 4) await dataSource.query('DELETE FROM idempotency_lock');
      }
      expect(swept).toBe(6);
    });

    it('grow while the clock is behind: the row knows, and the floor when the row was swept', async () => {
      const { dataSource, lock } = await locked(flavour);
      await acquired(lock, 'kept', 'first');
      await lock.release('kept', 'first');
      // Eleven days later, and then the clock is set back.
      const ahead = 1_000_000_000_000;
      await dataSource.query(`UPDATE idempotency_lock SET fence = fence + ${ahead}`);
      const now = BigInt(Date.now()) * 1_000n;
      let last = now + BigInt(ahead) / 2n;
      for (const token of ['second', 'third']) {
        const fence = await acquired(lock, 'kept', token);
        expect(fence).toBeGreaterThan(last);
        last = fence;
        await lock.release('kept', token);
      }
      await age(dataSource);
      expect(await lock.sweep(10)).toBe(0);

      await acquired(lock, 'swept', 'first');
      await lock.release('swept', 'first');
      await age(dataSource);
      expect(await lock.sweep(10)).toBe(1);
      await dataSource.query(`UPDATE idempotency_lock SET fence = fence + ${ahead} WHERE id = 'floor'`);
      const [{ fence: floor }] = await dataSource.query(
        `SELECT fence FROM idempotency_lock WHERE id = 'floor'`,
      );
      last = BigInt(floor);
      for (const token of ['second', 'third', 'fourth']) {
        const fence = await acquired(lock, 'swept', token);
        expect(fence).toBeGreaterThan(last);
        expect(await acquired(lock, 'swept', token)).toBe(fence);
        last = fence;
        await lock.release('swept', token);
      }
    });
  });

  describe('G68 the sweep', () => {
    it('takes what is free for a minute, in batches, and nothing that is held or was given back just now', async () => {
      const { dataSource, lock } = await locked(flavour);
      for (let i = 0; i < 5; i++) await acquired(lock, `old ${i}`, 'mine', i < 2 ? LONG_MS : 1);
      for (let i = 0; i < 2; i++) await lock.release(`old ${i}`, 'mine');
      await sleep(5);
      await age(dataSource, 61_000);
      await acquired(lock, 'held', 'mine');
      await acquired(lock, 'ran out', 'mine', 1);
      await acquired(lock, 'released', 'mine');
      await lock.release('released', 'mine');
      expect(await lock.sweep(3)).toBe(3);
      expect(await lock.sweep(3)).toBe(2);
      expect(await lock.sweep(3)).toBe(0);
      expect(await rowCount(dataSource)).toBe(3);
      expect(await lock.extend([{ name: 'held', token: 'mine' }], LONG_MS)).toEqual([true]);
    });

    it('is one process at a time, and one that died in it does not stop the others for long', async () => {
      const { options, dataSource, lock } = await locked(flavour);
      const { lock: second } = await another(flavour, options);
      for (let i = 0; i < 40; i++) await acquired(lock, `old ${i}`, 'mine', 1);
      await age(dataSource);
      await lock.sweep(1);
      // The lock the sweep is done under, as somebody holds it who died.
      await dataSource.query(
        `UPDATE idempotency_lock SET token = 'dead', until = until + 60000, free_at = until WHERE id = 'sweep'`,
      );
      expect(await Promise.all([lock.sweep(10), second.sweep(10)])).toEqual([0, 0]);
      await dataSource.query(`UPDATE idempotency_lock SET free_at = 0 WHERE id = 'sweep'`);
      const swept = await Promise.all([lock.sweep(10), second.sweep(10), lock.sweep(10)]);
      expect(Math.max(...swept)).toBe(10);
      while (await second.sweep(10));
      expect(await rowCount(dataSource)).toBe(0);
    });

    it('races 300 takeovers and removes no live lock', async () => {
      const { options, dataSource, lock } = await locked(flavour, {}, { poolSize: 12 });
      const { lock: second } = await another(flavour, options, { poolSize: 4 });
      let live = 0;
      let swept = 0;
      for (let round = 0; round < 6; round++) {
        const names = Array.from({ length: 50 }, (_, i) => `order ${round} ${i}`);
        await Promise.all(names.map((name) => acquired(lock, name, 'former', 1)));
        await sleep(5);
        await age(dataSource);
        const racing = new AbortController();
        const sweeps = [lock, second].map(async (by) => {
          while (!racing.signal.aborted) swept += await by.sweep(7);
        });
        const held = names.map((name) => ({ name, token: 'next' }));
        for (let at = 0; at < held.length; at += 10) {
          await Promise.all(held.slice(at, at + 10).map(({ name, token }) => acquired(lock, name, token)));
        }
        racing.abort();
        await Promise.all(sweeps);
        live += (await lock.extend(held, LONG_MS)).filter(Boolean).length;
      }
      expect(live).toBe(300);
      // There was a race.
      expect(swept).toBeGreaterThan(20);
      expect(swept).toBeLessThan(300);
    });

    it('is done by the module along with that of the store', async () => {
      const { dataSource, lock } = await locked(flavour);
      await acquired(lock, 'old', 'mine', 1);
      await age(dataSource);
      const sweep = { everyMs: 20, rows: 10 };
      const sweeper = new IdempotencySweeper(
        { principal: 'none', store: memoryStore(), lock, sweep },
        memoryStore(),
      );
      sweeper.onApplicationBootstrap();
      await until(async () => (await rowCount(dataSource)) === 0);
      sweeper.onModuleDestroy();
    });
  });

  describe('lockDelayMs', () => {
    it('holds back a lock that ran out, not one that was released, as its holder’s driver says', async () => {
      const { dataSource, lock } = await locked(flavour, { lockDelayMs: 500 });
      const hasty = sqlLock({ dataSource });
      await acquired(lock, 'released', 'first');
      await lock.release('released', 'first');
      await acquired(hasty, 'released', 'second');

      await acquired(lock, 'never extended', 'first', 5);
      await sleep(10);
      expect(await hasty.acquire('never extended', 'second', LONG_MS)).toMatchObject({ acquired: false });

      const began = performance.now();
      await acquired(lock, 'ran out', 'first', 100);
      await lock.extend([{ name: 'ran out', token: 'first' }], 200);
      await sleep(250);
      expect(await lock.extend([{ name: 'ran out', token: 'first' }], 200)).toEqual([false]);
      const answer = await hasty.acquire('ran out', 'second', LONG_MS);
      if (answer.acquired) throw new Error('given away too early');
      expect(answer.retryAfterMs).toBeGreaterThan(200);
      expect(answer.retryAfterMs).toBeLessThanOrEqual(500);
      await sleep(answer.retryAfterMs + 5);
      await acquired(hasty, 'ran out', 'second');
      expect(performance.now() - began).toBeGreaterThanOrEqual(699);
    });

    it('does not hold back the holder himself', async () => {
      const { lock } = await locked(flavour, { lockDelayMs: 60_000 });
      await acquired(lock, 'order', 'mine', 5);
      await sleep(10);
      await acquired(lock, 'order', 'mine');
    });
  });

  it('G68 any other error than "somebody has it" is an error, also a violated constraint', async () => {
    const { dataSource, lock } = await locked(flavour);
    await dataSource.query('CREATE UNIQUE INDEX not_ours ON idempotency_lock (token)');
    await acquired(lock, 'one', 'mine');
    await expect(lock.acquire('two', 'mine', LONG_MS)).rejects.toThrow(/acquire failed: .*(unique)/i);
    const service = new LockService(lock);
    await dataSource.query('ALTER TABLE idempotency_lock RENAME TO elsewhere');
    expect(await service.acquire('three', { ttlMs: LONG_MS })).toMatchObject({ status: 'unavailable' });
    for (const call of [
      () => lock.acquire('one', 'mine', LONG_MS),
      () => lock.extend([{ name: 'one', token: 'mine' }], LONG_MS),
      () => lock.release('one', 'mine'),
      () => lock.sweep(10),
      ...(lock.watch ? [() => lock.watch!('one', () => undefined, 'mine')] : []),
    ]) {
      await expect(call()).rejects.toThrow(/failed: .*idempotencyMigrations.*idempotencyEntities/);
    }
    await dataSource.query('ALTER TABLE elsewhere RENAME TO idempotency_lock');
    expect(await lock.release('one', 'mine')).toBe(true);
  });

  it('a DataSource that is not initialized, or no more, says so', async () => {
    const { options, dataSource, lock } = await locked(flavour);
    await dataSource.destroy();
    await expect(lock.acquire('order', 'mine', LONG_MS)).rejects.toThrow(/acquire before .*initialize\(\)/);
    await dataSource.initialize();
    await acquired(lock, 'order', 'mine');
    expect(await isFree((await another(flavour, options)).lock, 'order')).toBe(false);
  });
});

lane.each([POSTGRES, MARIADB, MYSQL])('$name', (flavour) => {
  it('G68 nothing is locked inside the application’s transaction', async () => {
    const { options, dataSource, lock } = await locked(flavour);
    const { lock: second } = await another(flavour, options);
    const rolledBack = dataSource.transaction(async (manager) => {
      await manager.query('SELECT 1');
      await acquired(lock, 'order', 'mine');
      expect(await isFree(second, 'order')).toBe(false);
      throw new Error('the application changes its mind');
    });
    await expect(rolledBack).rejects.toThrow('changes its mind');
    expect(await isFree(second, 'order')).toBe(false);
    expect(await lock.release('order', 'mine')).toBe(true);
  });

  it('G68 the sweep passes over a row that is just being taken', async () => {
    const { dataSource, lock } = await locked(flavour);
    for (const name of ['a', 'b', 'c']) await acquired(lock, name, name, 1);
    await age(dataSource);
    await dataSource.transaction(async (manager) => {
      await manager.query(
        `UPDATE idempotency_lock SET token = 'next', until = until + 240000, free_at = free_at + 240000 WHERE id = '${idOf('b')}'`,
      );
      expect(await lock.sweep(10)).toBe(2);
    });
    expect(await lock.sweep(10)).toBe(0);
    expect(await lock.extend([{ name: 'b', token: 'next' }], LONG_MS)).toEqual([true]);
  });

  it('an attempt sent again while the lock goes to somebody else is not a second holder', async () => {
    const { dataSource, lock } = await locked(flavour);
    await acquired(lock, 'order', 'mine', 30);
    await sleep(50);
    let again: Promise<unknown> | undefined;
    await dataSource.transaction(async (manager) => {
      await manager.query(
        `UPDATE idempotency_lock SET token = 'next', until = until + 60000, free_at = free_at + 60000`,
      );
      again = lock.acquire('order', 'mine', LONG_MS);
      await sleep(150);
    });
    expect(await again).toMatchObject({ acquired: false, holder: 'next' });
  });

  it('G68 a deadlock victim is sent again', async () => {
    const { dataSource, lock } = await locked(flavour);
    const held = ['a', 'b'].map((name) => ({ name, token: name }));
    for (const { name, token } of held) await acquired(lock, name, token);
    // What the other one has done decides who is the victim in MySQL, and who began to wait last in PostgreSQL.
    await dataSource.query('CREATE TABLE weight (x int)');
    const inTheWay = (first: string, last: string) =>
      dataSource.transaction(async (manager) => {
        await manager.query(`INSERT INTO weight VALUES ${Array.from({ length: 50 }, () => '(1)').join()}`);
        await manager.query(`SELECT id FROM idempotency_lock WHERE id = '${idOf(first)}' FOR UPDATE`);
        await sleep(400);
        await manager.query(`SELECT id FROM idempotency_lock WHERE id = '${idOf(last)}' FOR UPDATE`);
      });
    const before = await deadlocks(dataSource);
    for (const [first, last] of [
      ['a', 'b'],
      ['b', 'a'],
    ] as const) {
      const obstacle = inTheWay(first, last);
      await sleep(100);
      const [extended] = await Promise.all([lock.extend(held, LONG_MS), obstacle]);
      expect(extended).toEqual([true, true]);
    }
    expect(await deadlocks(dataSource)).toBeGreaterThan(before);
  });

  async function deadlocks(dataSource: DataSource): Promise<number> {
    if (flavour !== POSTGRES) {
      const [row] = await dataSource.query(`SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'`);
      return Number(row.Value);
    }
    await dataSource.query('SELECT pg_stat_clear_snapshot()').catch(() => undefined);
    const sql = 'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()';
    return Number((await dataSource.query(sql))[0].deadlocks);
  }

  it('G60 64 names at once, taken, released and swept: no deadlock reaches the caller', async () => {
    const { dataSource, lock } = await locked(flavour, {}, { poolSize: 24 });
    const racing = new AbortController();
    const sweeps = (async () => {
      while (!racing.signal.aborted) {
        await age(dataSource).catch(() => undefined);
        await lock.sweep(50);
      }
    })();
    for (let round = 0; round < 5; round++) {
      const names = Array.from({ length: 64 }, (_, i) => `order ${i}`);
      await Promise.all(names.map((name) => lock.acquire(name, `${name} ${round}`, 5_000)));
      await Promise.all(names.map((name) => lock.release(name, `${name} ${round}`)));
    }
    racing.abort();
    await sweeps;
  });
});

lane('PostgreSQL', () => {
  it('acquire, extension and release are one statement each, and leave no setting behind', async () => {
    const { dataSource, lock } = await locked(POSTGRES);
    const pool = (dataSource.driver as unknown as { master: { on: Function } }).master;
    const texts: string[] = [];
    const seen = new Set();
    pool.on('acquire', (client: { query: Function }) => {
      if (seen.has(client)) return;
      seen.add(client);
      const query = client.query.bind(client);
      client.query = (statement: { text: string }, ...rest: unknown[]) => {
        texts.push(statement.text);
        return query(statement, ...rest);
      };
    });
    await acquired(lock, 'order', 'mine');
    expect((await lock.acquire('order', 'other', LONG_MS)).acquired).toBe(false);
    await lock.extend([{ name: 'order', token: 'mine' }], LONG_MS);
    await lock.release('order', 'mine');
    expect(texts).toHaveLength(4);
    expect(await dataSource.query('SHOW lock_timeout')).toEqual([{ lock_timeout: '0' }]);
    expect(await dataSource.query('SHOW synchronous_commit')).toEqual([{ synchronous_commit: 'on' }]);
  });
});

lane('SQLite', () => {
  it('G68 waits for the end of the application’s transaction, and is not rolled back with it', async () => {
    const { options, dataSource, lock } = await locked(SQLITE);
    await dataSource.query('CREATE TABLE account (balance int)');
    let answer: unknown;
    let pending: Promise<unknown> | undefined;
    const rolledBack = dataSource.transaction(async (manager) => {
      await manager.query('INSERT INTO account VALUES (1)');
      pending = lock.acquire('order', 'mine', LONG_MS).then((given) => (answer = given));
      await sleep(60);
      expect(answer).toBeUndefined();
      throw new Error('the application changes its mind');
    });
    await expect(rolledBack).rejects.toThrow('changes its mind');
    await pending;
    expect(answer).toMatchObject({ acquired: true });
    const other = new libsql(String(options.database));
    expect(other.prepare('SELECT token FROM idempotency_lock').all()).toEqual([{ token: 'mine' }]);
    other.close();
    expect(await dataSource.query('SELECT * FROM account')).toEqual([]);
  });

  it('G85 who gave up while a transaction was in the way does not get the lock after it', async () => {
    const { dataSource, lock } = await locked(SQLITE);
    const service = new LockService(lock, { backendTimeoutMs: 100 });
    await dataSource.transaction(async (manager) => {
      await manager.query('SELECT 1');
      expect(await service.acquire('order', { ttlMs: LONG_MS })).toMatchObject({ status: 'unavailable' });
    });
    await acquired(lock, 'another', 'mine');
    // It stood in line before the other one, and left no trace.
    expect(await rowCount(dataSource)).toBe(1);
    await expect(dataSource.transaction(() => lock.acquire('order', 'mine', LONG_MS))).rejects.toThrow(
      'in a transaction of the application',
    );
  });
});

describe('options', () => {
  it('G83 are checked at once, in words that name option, value and fix', async () => {
    const make = (options: unknown) => () => sqlLock(options as never);
    const fix = 'it must be a TypeORM DataSource, e.g. sqlLock({ dataSource: new DataSource(options) })';
    expect(make(undefined)).toThrow(`sqlLock({ dataSource }): dataSource is undefined; ${fix}`);
    expect(make({ dataSource: 'postgres://user:secret@host' })).toThrow(
      `dataSource is of type string; ${fix}`,
    );
    expect(make({ dataSource: { options: { type: 'oracle' } } })).toThrow('this one is "oracle"');
    const dataSource = await open(await SQLITE.create());
    for (const lockDelayMs of [-1, 1.5, Number.NaN, '5']) {
      expect(make({ dataSource, lockDelayMs })).toThrow(
        `lockDelayMs is ${String(lockDelayMs)}; it must be an integer of at least 0 (milliseconds)`,
      );
    }
    await dataSource.destroy();
  });
});
