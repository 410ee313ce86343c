import { setTimeout as sleep } from 'node:timers/promises';
import { DataSource } from 'typeorm';
import { LockService } from '../../lib/locks/lock.service.js';
import {
  idempotencyMigrations,
  sqlLock,
  type SqlQuorumLock,
  sqlQuorumLock,
} from '../../lib/locks/sql/index.js';
import { DATABASES, MARIADB, open, openMigrated, POSTGRES, SQLITE } from '../stores/typeorm-flavours.js';
import { type SqlServer, startPostgres } from '../../sample-app/servers/servers.js';
import { acquired, age, idOf, leased, locked, LONG_MS, rowCount, until } from './sql-helpers.js';

describe('a quorum of PostgreSQL, MariaDB and SQLite', () => {
  const opened: DataSource[] = [];
  const locks: SqlQuorumLock[] = [];

  beforeAll(async () => {
    const options = await Promise.all([POSTGRES, MARIADB, SQLITE].map(({ create }) => create()));
    for (const one of options) await (await openMigrated(one)).destroy();
    for (let user = 0; user < 3; user++) {
      const dataSources = await Promise.all(options.map((one) => open(one)));
      opened.push(...dataSources);
      locks.push(sqlQuorumLock({ dataSources, nodeTimeoutMs: 2_000 }));
    }
  });
  afterAll(async () => {
    for (const dataSource of opened) await dataSource.destroy();
  });

  it('is one lock: given to one, known when sent again, extended, run out, released', async () => {
    const [first, second] = locks as [SqlQuorumLock, SqlQuorumLock];
    const fence = await acquired(first, 'order', 'mine', 5_000);
    expect(await acquired(first, 'order', 'mine', 5_000)).toBeGreaterThanOrEqual(fence);
    expect(await second.acquire('order', 'other', LONG_MS)).toMatchObject({
      acquired: false,
      holder: 'mine',
    });
    expect(await second.release('order', 'other')).toBe(false);
    const both = [
      { name: 'order', token: 'mine' },
      { name: 'order', token: 'other' },
    ];
    expect(await first.extend(both, 1_500)).toEqual([true, false]);
    await sleep(1_600);
    expect(await acquired(second, 'order', 'other')).toBeGreaterThan(fence);
    expect(await first.release('order', 'mine')).toBe(false);
    expect(await first.extend([{ name: 'order', token: 'mine' }], LONG_MS)).toEqual([false]);
    expect(await second.release('order', 'other')).toBe(true);
  });

  it('G60 G14 keeps an unprotected counter of three services right, with growing fences', async () => {
    let counter = 0;
    const fences: bigint[] = [];
    const count = async (service: LockService) => {
      for (let round = 0; round < 8; round++) {
        await service.using('counter', { ttlMs: 10_000, waitMs: 60_000 }, async ({ fence }) => {
          const seen = counter;
          await sleep(2);
          counter = seen + 1;
          fences.push(fence);
        });
      }
    };
    const services = locks.map((lock) => new LockService(lock, { backendTimeoutMs: 10_000 }));
    await Promise.all(services.flatMap((service) => [count(service), count(service)]));
    expect(counter).toBe(48);
    expect(fences).toEqual([...new Set(fences)].toSorted((a, b) => (a < b ? -1 : 1)));
  });
});

describe.each(DATABASES)('as a node: $name', (flavour) => {
  it('G14 raises the fences to come, of a lock that is held, free, or not there', async () => {
    const { dataSource, lock } = await locked(flavour);
    const ahead = BigInt(Date.now() + 3_600_000) * 1_000n;
    await acquired(lock, 'held', 'first');
    await acquired(lock, 'free', 'first');
    await lock.release('free', 'first');
    for (const name of ['held', 'free', 'never there']) {
      await lock.raiseFence(name, ahead);
      await lock.raiseFence(name, 5n);
      await lock.release(name, 'first');
      expect(await acquired(lock, name, 'second')).toBe(ahead + 1n);
    }
    expect(await rowCount(dataSource)).toBe(3);
  });

  it('gives the fence that is asked for, if its clock is not far behind and its row not ahead', async () => {
    const { lock } = await locked(flavour);
    await acquired(lock, 'warm', 'up');
    const soon = BigInt(Date.now() + 190) * 1_000n;
    expect(await lock.acquire('order', 'first', LONG_MS, soon)).toEqual({ acquired: true, fence: soon });
    expect(await lock.acquire('order', 'first', LONG_MS, soon + 9n)).toEqual({ acquired: true, fence: soon });
    await lock.release('order', 'first');
    expect(await lock.acquire('order', 'second', LONG_MS, soon)).toEqual({
      acquired: true,
      fence: soon + 1n,
    });
    const far = BigInt(Date.now() + 60_000) * 1_000n;
    const answer = await lock.acquire('another', 'first', LONG_MS, far);
    if (!answer.acquired) throw new Error('busy');
    expect(answer.fence).toBeLessThan(far - 50_000_000n);
  });
});

describe('G69 three PostgreSQL servers', () => {
  const NODE_TIMEOUT_MS = 1_000;
  let servers: SqlServer[];
  let opened: DataSource[] = [];

  beforeAll(async () => {
    servers = await Promise.all([1, 2, 3].map(() => startPostgres()));
    for (const { url } of servers) {
      const migrations = idempotencyMigrations;
      await (await open({ type: 'postgres', url }, { migrations, migrationsRun: true })).destroy();
    }
  });
  afterAll(() => Promise.all(servers.map((server) => server.stop())));
  afterEach(async () => {
    for (const server of servers) await server.resume();
    for (const dataSource of opened.splice(0)) await dataSource.destroy();
  });

  async function connect(poolSize = 5): Promise<DataSource[]> {
    const extra = { poolErrorHandler: () => undefined, poolSize };
    const dataSources = await Promise.all(servers.map(({ url }) => open({ type: 'postgres', url }, extra)));
    opened.push(...dataSources);
    // What is not connected yet takes longer than a node is waited for.
    for (const dataSource of dataSources)
      await Promise.all(Array.from({ length: 3 }, () => dataSource.query('SELECT 1')));
    return dataSources;
  }

  async function quorum(poolSize?: number) {
    const dataSources = await connect(poolSize);
    return { dataSources, lock: sqlQuorumLock({ dataSources, nodeTimeoutMs: NODE_TIMEOUT_MS }) };
  }

  async function holder(dataSource: DataSource, name: string): Promise<string | null | undefined> {
    const [row] = await dataSource.query('SELECT token FROM idempotency_lock WHERE id = $1', [idOf(name)]);
    return row?.token;
  }

  it('holds, excludes and releases on all of them', async () => {
    const { dataSources, lock } = await quorum();
    const { lock: second } = await quorum();
    const locks = new LockService(lock);
    const lease = await leased(locks, 'all', LONG_MS);
    expect(await new LockService(second).acquire('all', { ttlMs: LONG_MS })).toMatchObject({
      status: 'busy',
      holder: lease.token,
    });
    await lease.extend();
    await until(async () => (await holder(dataSources[2]!, 'all')) === lease.token);
    expect(await lease.release()).toBe('released');
    await until(async () =>
      (await Promise.all(dataSources.map((one) => holder(one, 'all')))).every((token) => token === null),
    );
  });

  it('one hangs: it is not waited for, and what it does late is undone', async () => {
    const { dataSources, lock } = await quorum(4);
    const { lock: second } = await quorum(4);
    const locks = new LockService(lock);
    await servers[1]!.pause();
    const names = Array.from({ length: 12 }, (_, i) => `hanging ${i}`);
    for (const name of names) {
      const began = performance.now();
      const lease = await leased(locks, name, LONG_MS);
      expect(performance.now() - began).toBeLessThan(2 * NODE_TIMEOUT_MS + 300);
      expect((await second.acquire(name, 'other', LONG_MS)).acquired).toBe(false);
      await lease.extend();
      expect(await lease.release()).toBe('released');
    }
    await servers[1]!.resume();
    const admin = sqlLock({ dataSource: (await connect())[1]! });
    // By the time the pool serves us again, its late statements were executed.
    for (const name of names) {
      await until(async () => {
        const token = await holder(dataSources[1]!, name);
        return token === null || token === undefined;
      });
    }
    await sleep(200);
    for (const name of names) {
      await acquired(admin, name, 'after');
      await admin.release(name, 'after');
    }
  });

  it('one is dead: the others decide, and it remembers when it is back', async () => {
    const { dataSources, lock } = await quorum();
    const { lock: second } = await quorum();
    await acquired(lock, 'before', 'mine');
    await servers[0]!.kill();
    await acquired(lock, 'order', 'mine');
    expect((await second.acquire('order', 'other', LONG_MS)).acquired).toBe(false);
    expect(await lock.extend([{ name: 'order', token: 'mine' }], LONG_MS)).toEqual([true]);
    await servers[0]!.restart();
    await until(async () => (await holder(dataSources[0]!, 'before').catch(() => undefined)) === 'mine');
    // The next extension repairs the node that missed it.
    await until(async () => {
      expect(await lock.extend([{ name: 'order', token: 'mine' }], LONG_MS)).toEqual([true]);
      return (await holder(dataSources[0]!, 'order')) === 'mine';
    });
    expect(await lock.release('order', 'mine')).toBe(true);
    expect(await lock.release('before', 'mine')).toBe(true);
  });

  it('two hang: it is unavailable in time, and nothing is locked by anybody afterwards', async () => {
    const { dataSources, lock } = await quorum();
    const locks = new LockService(lock);
    await servers[0]!.pause();
    await servers[2]!.pause();
    const began = performance.now();
    expect(await locks.acquire('nobody', { ttlMs: LONG_MS })).toMatchObject({ status: 'unavailable' });
    expect(performance.now() - began).toBeLessThan(2 * NODE_TIMEOUT_MS + 300);
    await servers[0]!.resume();
    await servers[2]!.resume();
    for (const dataSource of dataSources) {
      await until(async () => {
        const token = await holder(dataSource, 'nobody');
        return token === null || token === undefined;
      });
    }
    await sleep(200);
    await acquired(lock, 'nobody', 'next');
    expect(await lock.release('nobody', 'next')).toBe(true);
  });

  it('G14 fences grow over changing majorities', async () => {
    const { lock } = await quorum();
    let last = 0n;
    for (let round = 0; round < 6; round++) {
      const hung = servers[round % 3]!;
      await hung.pause();
      const fence = await acquired(lock, 'order', `holder ${round}`);
      expect(fence).toBeGreaterThan(last);
      last = fence;
      expect(await lock.release('order', `holder ${round}`)).toBe(true);
      await hung.resume();
      await sleep(50);
    }
  });

  it('is swept on every node', async () => {
    const { dataSources, lock } = await quorum();
    for (let i = 0; i < 4; i++) await acquired(lock, `old ${i}`, 'mine', 1_000);
    await sleep(100);
    for (const dataSource of dataSources) await age(dataSource);
    await servers[1]!.pause();
    const swept = lock.sweep!(1_000);
    await sleep(100);
    await servers[1]!.resume();
    expect(await swept).toBeGreaterThanOrEqual(4);
    for (const dataSource of dataSources) expect(await rowCount(dataSource)).toBe(0);
  });
});

it('G83 options are checked at once, in words that name option, value and fix', async () => {
  const make = (options: unknown) => () => sqlQuorumLock(options as never);
  const dataSource = new DataSource(await SQLITE.create());
  const fix = 'give one TypeORM DataSource for each database, e.g. three of independent servers';
  expect(make(undefined)).toThrow(`sqlQuorumLock({ dataSources }): there is no DataSource; ${fix}`);
  expect(make({ dataSources: [] })).toThrow('there is no DataSource');
  expect(make({ dataSources: [dataSource, 'b'] })).toThrow(`dataSources[1] is no TypeORM DataSource; ${fix}`);
  expect(make({ dataSources: [dataSource, dataSource] })).toThrow(
    'dataSources[1] is dataSources[0] once more',
  );
  expect(make({ dataSources: [dataSource], nodeTimeoutMs: 0 })).toThrow('nodeTimeoutMs is 0; it must be');
  expect(make({ dataSources: [dataSource], lockDelayMs: -1 })).toThrow('lockDelayMs is -1; it must be');
});
