import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis, RedisOptions } from 'ioredis';
import { LockService } from '../../lib/locks/lock.service.js';
import { redlock, type RedlockOptions } from '../../lib/locks/redis/index.js';
import { describeLockDriver } from '../support/lock-suite.js';
import { type FaultProxy, startProxy } from '../support/proxy.js';
import { redisClient } from '../support/redis-client.js';
import { type RedisServer, startRedis } from '../../sample-app/servers/servers.js';
import { persistent, timed, until } from './quorum-helpers.js';

const LONG_MS = 30_000;
const LOCKED = { acquired: true, fence: expect.any(BigInt) };
/** As ioredis comes: commands under way are sent again when the connection is back. */
const resending: RedisOptions = { maxRetriesPerRequest: null };

describe.each([5, 3])('%d servers', (size) => {
  describeLockDriver(`redlock of ${size} servers`, async () => {
    const servers = await startServers(size);
    const clients = [1, 2].map(() => servers.map(({ url }) => redisClient(url)));
    const [driver, second] = clients.map((each) =>
      persistent(redlock({ clients: each, nodeTimeoutMs: 1_000, delayedRestart: false })),
    );
    return {
      driver: driver!,
      second: second!,
      cleanup: async () => {
        for (const client of clients.flat()) client.disconnect();
        await Promise.all(servers.map((server) => server.stop()));
      },
    };
  });
});

function startServers(count: number): Promise<RedisServer[]> {
  return Promise.all(Array.from({ length: count }, () => startRedis()));
}

describe('five servers', () => {
  let servers: RedisServer[];
  let admins: Redis[];
  let name: string;
  let count = 0;

  beforeAll(async () => {
    servers = await startServers(5);
    admins = servers.map(({ url }) => redisClient(url));
  });
  afterAll(() => Promise.all(servers.map((server) => server.stop())));
  beforeEach(() => {
    name = `order:${(count += 1)}`;
  });

  function lockBy(options: Partial<RedlockOptions> = {}, urls = servers.map(({ url }) => url)) {
    const clients = urls.map((url) => redisClient(url, resending));
    return { clients, lock: redlock({ clients, delayedRestart: false, ...options }) };
  }

  async function connected(options?: Partial<RedlockOptions>, urls?: string[]) {
    const { clients, lock } = lockBy(options, urls);
    await Promise.all(clients.map((client) => client.ping()));
    return { clients, lock };
  }

  async function proxied(which: readonly number[]): Promise<{ urls: string[]; proxies: FaultProxy[] }> {
    const proxies = await Promise.all(which.map((node) => startProxy(servers[node]!.port)));
    const urls = servers.map(({ url }) => url);
    which.forEach((node, i) => (urls[node] = proxies[i]!.url(urls[node]!)));
    return { urls, proxies };
  }

  /** Who has the lock on each server. */
  async function holders(): Promise<(string | null)[]> {
    return Promise.all(
      admins.map(async (admin) => {
        const [key] = await admin.keys(`*:lock:${name}`);
        return key === undefined ? null : admin.get(key);
      }),
    );
  }

  async function heldBy(token: string, on: readonly number[]): Promise<void> {
    const client = (node: number) => redlock({ clients: [admins[node]!], delayedRestart: false });
    for (const node of on) expect(await client(node).acquire(name, token, LONG_MS)).toEqual(LOCKED);
  }

  const NOBODY = [null, null, null, null, null];

  describe('G64', () => {
    it('one command to each server for an attempt, and one for a release', async () => {
      const { lock } = await connected();
      const warmUp = await lock.acquire('warm', 'up', LONG_MS);
      expect(warmUp).toEqual(LOCKED);
      await lock.release('warm', 'up');
      await lock.extend([{ name: 'warm', token: 'up' }], LONG_MS);
      await sleep(20);
      await Promise.all(admins.map((admin) => admin.config('RESETSTAT')));
      await lock.acquire(name, 'mine', LONG_MS);
      await lock.extend([{ name, token: 'mine' }], LONG_MS);
      await lock.release(name, 'mine');
      await until(async () => (await holders()).every((holder) => holder === null));
      for (const admin of admins) {
        const stats = await admin.info('commandstats');
        const calls = Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1]);
        // One more where the clocks of process and server differ, and another one where the process stood still.
        expect([3, 4, 5]).toContain(calls);
      }
    });

    it('a minority held by somebody else does not matter, a majority does, and nothing stays behind', async () => {
      const { lock } = await connected();
      await heldBy('other', [0, 1]);
      expect(await lock.acquire(name, 'mine', LONG_MS)).toEqual(LOCKED);
      expect(await lock.release(name, 'mine')).toBe(true);
      await heldBy('other', [2]);
      const answer = await lock.acquire(name, 'mine', LONG_MS);
      expect(answer).toEqual({ acquired: false, retryAfterMs: expect.any(Number), holder: 'other' });
      await until(async () => !(await holders()).includes('mine'));
      expect(await holders()).toEqual(['other', 'other', 'other', null, null]);
    });

    it('F10 servers that take longer than the life are refused, and given back everywhere', async () => {
      const { urls, proxies } = await proxied([0, 1, 2]);
      const { lock } = await connected({ nodeTimeoutMs: 2_000 }, urls);
      for (const proxy of proxies) proxy.delay(100);
      expect(await lock.acquire(name, 'half', 600)).toEqual(LOCKED);
      await lock.release(name, 'half');
      for (const proxy of proxies) proxy.delay(300);
      await expect(lock.acquire(name, 'late', 500)).rejects.toThrow('too late: the life of the lock is over');
      await until(async () => (await holders()).every((holder) => holder === null));
    });

    it('G03 F1 replies that are lost are no refusals: it recognises its own lock on each server', async () => {
      const { urls, proxies } = await proxied([0, 1, 2, 3, 4]);
      const { lock } = await connected({ nodeTimeoutMs: 2_000 }, urls);
      await lock.acquire('warm', 'up', LONG_MS);
      for (const proxy of proxies) proxy.cutReply({ matching: 'evalsha' });
      const { result, ms } = await timed(lock.acquire(name, 'mine', LONG_MS));
      expect(result).toEqual(LOCKED);
      expect(proxies.map(({ cuts }) => cuts)).toEqual([1, 1, 1, 1, 1]);
      expect(ms).toBeLessThan(2_000);
    });

    it('F11 contenders at the same moment settle, on an even number of servers too', async () => {
      for (const size of [4, 5]) {
        const urls = servers.slice(0, size).map(({ url }) => url);
        const services: LockService[] = [];
        for (let contender = 0; contender < 6; contender++) {
          services.push(new LockService((await connected({ nodeTimeoutMs: 1_000 }, urls)).lock));
        }
        const begun = performance.now();
        let first = Infinity;
        await Promise.all(
          services.map((service) =>
            service.using(`${name}:${size}`, { ttlMs: LONG_MS, waitMs: 10_000 }, async () => {
              first = Math.min(first, performance.now() - begun);
              await sleep(2);
            }),
          ),
        );
        expect(first).toBeLessThan(1_000);
      }
    });
  });

  describe('G65', () => {
    const NODE_MS = 100;

    /** Takes, prolongs and releases the lock; tells how long the taking took. */
    async function cycle(lock: ReturnType<typeof redlock>): Promise<number> {
      const token = randomUUID();
      const { result, ms } = await timed(lock.acquire(name, token, LONG_MS));
      expect(result).toEqual(LOCKED);
      expect(await lock.extend([{ name, token }], LONG_MS)).toEqual([true]);
      await lock.release(name, token);
      return ms;
    }

    /** A busy machine included; without the limit it were seconds. */
    const WITHIN_MS = NODE_MS + 300;

    it.each([1, 2])('%d of five servers hung (SIGSTOP): nobody waits for them', async (hung) => {
      const { lock } = await connected({ nodeTimeoutMs: NODE_MS });
      await cycle(lock);
      await Promise.all(servers.slice(0, hung).map((server) => server.pause()));
      for (let round = 0; round < 10; round++) expect(await cycle(lock)).toBeLessThan(WITHIN_MS);
      await Promise.all(servers.slice(0, hung).map((server) => server.resume()));
      await until(async () => (await holders()).every((holder) => holder === null));
    });

    it.each([1, 2])('%d of five servers slow by a second: nobody waits for them', async (slow) => {
      const { urls, proxies } = await proxied([3, 4].slice(0, slow));
      const { lock } = await connected({ nodeTimeoutMs: NODE_MS }, urls);
      for (const proxy of proxies) proxy.delay(1_000);
      for (let round = 0; round < 5; round++) expect(await cycle(lock)).toBeLessThan(WITHIN_MS);
      await until(async () => (await holders()).every((holder) => holder === null));
    });

    it('one and two of five servers killed, then three, then all back', async () => {
      const { lock, clients } = await connected({ nodeTimeoutMs: NODE_MS });
      for (const node of [0, 1]) {
        await servers[node]!.kill();
        for (let round = 0; round < 5; round++) expect(await cycle(lock)).toBeLessThan(WITHIN_MS);
      }
      await servers[2]!.kill();
      await until(() => clients[2]!.status !== 'ready');
      const { result, ms } = await timed(lock.acquire(name, 'mine', LONG_MS).catch((error) => error));
      expect(result).toBeInstanceOf(AggregateError);
      expect(result.message).toMatch(
        /of 5 nodes answered, 3 have to agree .*node 2: The Redis client is not ready/,
      );
      expect(ms).toBeLessThan(WITHIN_MS);
      await Promise.all(servers.slice(0, 3).map((server) => server.restart()));
      await until(() => clients.every(({ status }) => status === 'ready'));
      expect(await cycle(lock)).toBeLessThan(WITHIN_MS);
      await until(async () => (await holders()).every((holder) => holder === null));
    });

    it('F14 answers that came while the process stood still count', async () => {
      const { lock } = await connected({ nodeTimeoutMs: NODE_MS });
      await cycle(lock);
      const acquired = lock.acquire(name, 'mine', LONG_MS);
      // The commands are on their way.
      await new Promise((resolve) => setImmediate(resolve));
      const end = performance.now() + 2 * NODE_MS;
      while (performance.now() < end);
      expect(await acquired).toEqual(LOCKED);
      await lock.release(name, 'mine');
    });

    it('F5 three of five servers hung: unavailable in time, and what they do later leaves nothing behind', async () => {
      const { lock } = await connected({ nodeTimeoutMs: NODE_MS });
      await cycle(lock);
      const hung = servers.slice(2);
      await Promise.all(hung.map((server) => server.pause()));
      const service = new LockService(lock);
      const { result, ms } = await timed(service.acquire(name, { ttlMs: LONG_MS }));
      expect(result).toMatchObject({
        status: 'unavailable',
        cause: {
          cause: { errors: [2, 3, 4].map(() => expect.objectContaining({ name: 'NodeTimeoutError' })) },
        },
      });
      // The attempt, and the release of it.
      expect(ms).toBeLessThan(2 * WITHIN_MS);
      await Promise.all(hung.map((server) => server.resume()));
      await until(async () => (await holders()).every((holder) => holder === null));
      expect(await holders()).toEqual(NOBODY);
      expect(await cycle(lock)).toBeLessThan(WITHIN_MS);
    });

    it('F4 a holder who reaches nobody any more knows before others get the lock', async () => {
      const { urls, proxies } = await proxied([0, 1, 2, 3, 4]);
      const holder = new LockService((await connected({ nodeTimeoutMs: NODE_MS }, urls)).lock);
      const contender = new LockService((await connected({ nodeTimeoutMs: NODE_MS })).lock);
      const held = await holder.acquire(name, { ttlMs: 1_000 });
      if (held.status !== 'acquired') throw new Error(held.status);
      for (const proxy of proxies) proxy.drop();
      let lostAt = 0;
      held.lease.signal.addEventListener('abort', () => (lostAt = performance.now()));
      const next = await contender.acquire(name, { ttlMs: 1_000, waitMs: 5_000 });
      const nextAt = performance.now();
      if (next.status !== 'acquired') throw new Error(next.status);
      expect(lostAt).toBeGreaterThan(0);
      expect(lostAt).toBeLessThan(nextAt);
      expect(next.lease.fence).toBeGreaterThan(held.lease.fence);
      await next.lease.release();
      for (const proxy of proxies) proxy.pass();
      expect(await held.lease.release()).toBe('not-held');
    });
  });

  it('G62 hands the lock over at once, with a hung server too', async () => {
    const [holder, waiter] = await Promise.all(
      [1, 2].map(async () => new LockService((await connected({ nodeTimeoutMs: 100 })).lock)),
    );
    await servers[1]!.pause();
    const waits: number[] = [];
    for (let round = 0; round < 5; round++) {
      const held = await holder!.acquire(name, { ttlMs: LONG_MS });
      if (held.status !== 'acquired') throw new Error(held.status);
      const waiting = waiter!.acquire(name, { ttlMs: LONG_MS, waitMs: 5_000 });
      await sleep(100);
      await held.lease.release();
      const { result, ms } = await timed(waiting);
      waits.push(ms);
      if (result.status !== 'acquired') throw new Error(result.status);
      await result.lease.release();
    }
    await servers[1]!.resume();
    expect(waits.toSorted((a, b) => a - b)[2]).toBeLessThan(200);
  });

  describe('options', () => {
    const make = (options: unknown) => () => redlock(options as never);

    it('G83 are checked at once, in words that name option, value and fix', () => {
      const fix =
        'give one ioredis client for each server, e.g. redlock({ clients: urls.map((url) => new Redis(url)) })';
      expect(make(undefined)).toThrow(`redlock({ clients }): there is no client; ${fix}`);
      expect(make({ clients: [] })).toThrow(`redlock({ clients }): there is no client; ${fix}`);
      expect(make({ clients: [admins[0], 'redis://:secret@host'] })).toThrow(
        `redlock({ clients }): clients[1] is no ioredis client; ${fix}`,
      );
      expect(make({ clients: [admins[0], admins[1], admins[0]] })).toThrow(
        'redlock({ clients }): clients[2] is clients[0] once more; each server has one vote',
      );
      const cluster = Object.assign(Object.create(admins[0]!), { isCluster: true });
      expect(make({ clients: [cluster] })).toThrow('clients[0] is a Cluster, whose failovers forget locks');
      expect(make({ clients: admins, nodeTimeoutMs: 1.5 })).toThrow(
        'nodeTimeoutMs is 1.5; it must be an integer',
      );
      expect(make({ clients: admins, maxTtlMs: 0 })).toThrow('redlock({ maxTtlMs }): maxTtlMs is 0');
      expect(make({ clients: admins, keyPrefix: '{a}' })).toThrow(
        'redlock({ keyPrefix }): keyPrefix is "{a}"',
      );
    });

    it('keys begin with the prefix', async () => {
      const { lock } = await connected({ keyPrefix: 'shop:' });
      await lock.acquire(name, 'mine', LONG_MS);
      await until(async () => (await holders()).every((holder) => holder === 'mine'));
      expect(await admins[0]!.keys(`shop:{*}:lock:${name}`)).toHaveLength(1);
    });

    it('works with clients that connect at their first command', async () => {
      const clients = servers.map(({ url }) => redisClient(url, { lazyConnect: true }));
      const lock = redlock({ clients, delayedRestart: false, nodeTimeoutMs: 1_000 });
      expect(await lock.acquire(name, 'mine', LONG_MS)).toEqual(LOCKED);
    });
  });
});
