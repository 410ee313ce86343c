import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, type Redis, type RedisOptions } from 'ioredis';
import { type RedisLock, redisLock } from '../../lib/locks/redis/index.js';
import { redisStore } from '../../lib/stores/redis/index.js';
import { describeLockDriver } from '../support/lock-suite.js';
import { startProxy } from '../support/proxy.js';
import { redisClient } from '../support/redis-client.js';
import { type RedisServer, startRedis } from '../../sample-app/servers/servers.js';
import { sharedRedisUrl } from '../support/shared-servers.js';

const LONG_MS = 30_000;
const LOCKED = { acquired: true, fence: expect.any(BigInt) };

describe.each<[string, RedisOptions]>([
  ['redis', {}],
  [
    'redis, a client with odd options',
    { enableAutoPipelining: true, stringNumbers: true, keyPrefix: 'app:' },
  ],
  ['redis, a client that connects at its first command', { lazyConnect: true }],
])('%s', (name, options) => {
  describeLockDriver(name, async () => {
    const clients = [redisClient(sharedRedisUrl(), options), redisClient(sharedRedisUrl(), options)] as const;
    const [driver, second] = [redisLock({ client: clients[0] }), redisLock({ client: clients[1] })];
    return { driver, second, cleanup: async () => clients.forEach((client) => client.disconnect()) };
  });
});

describeLockDriver('redis, a Cluster of two nodes', async () => {
  const nodes = await Promise.all([1, 2].map(() => startClusterNode()));
  const [first, last] = nodes.map(({ url }) => redisClient(url)) as [Redis, Redis];
  await first.call('CLUSTER', 'ADDSLOTSRANGE', 0, 8_191);
  await last.call('CLUSTER', 'ADDSLOTSRANGE', 8_192, 16_383);
  await first.call('CLUSTER', 'MEET', '127.0.0.1', nodes[1]!.port);
  for (const node of [first, last]) {
    await until(async () => {
      const info = String(await node.call('CLUSTER', 'INFO'));
      return info.includes('cluster_state:ok') && info.includes('cluster_known_nodes:2');
    });
  }
  const clients = nodes.map(({ port }) => new Cluster([{ host: '127.0.0.1', port }]));
  const [driver, second] = clients.map((client) => redisLock({ client })) as [RedisLock, RedisLock];
  return {
    driver,
    second,
    cleanup: async () => {
      for (const client of clients) client.disconnect();
      await Promise.all(nodes.map((node) => node.stop()));
    },
  };
});

function startClusterNode(): Promise<RedisServer> {
  return startRedis({ args: ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'] });
}

describe('a Redis of its own', () => {
  let server: RedisServer;
  let admin: Redis;
  let name: string;
  let count = 0;

  beforeAll(async () => {
    server = await startRedis({ args: ['--repl-diskless-sync-delay', '0'] });
    admin = redisClient(server.url);
  });
  afterAll(() => server.stop());
  beforeEach(() => {
    name = `order:${(count += 1)}`;
  });

  function lockBy(url = server.url, options: RedisOptions = {}): { lock: RedisLock; client: Redis } {
    const client = redisClient(url, options);
    return { lock: redisLock({ client }), client };
  }

  /** As ioredis comes: commands under way are sent again when the connection is back. */
  const resending: RedisOptions = { maxRetriesPerRequest: null };

  async function isFree(): Promise<boolean> {
    return (await admin.keys(`*:lock:${name}`)).length === 0;
  }

  async function commandCalls(): Promise<Record<string, number>> {
    const lines = (await admin.info('commandstats')).matchAll(/cmdstat_(\w+):calls=(\d+)/g);
    return Object.fromEntries([...lines].map(([, command, calls]) => [command, Number(calls)]));
  }

  describe('round trips', () => {
    it('takes one for each operation, and one more for a script the server has not seen', async () => {
      const { lock } = lockBy();
      const operations = [
        () => lock.acquire(name, 'mine', LONG_MS),
        () => lock.acquire(name, 'other', LONG_MS),
        () =>
          lock.extend(
            [
              { name, token: 'mine' },
              { name: 'x', token: 'y' },
            ],
            LONG_MS,
          ),
        () => lock.release(name, 'mine'),
      ];
      await admin.script('FLUSH');
      for (const operation of operations) await operation();
      await admin.config('RESETSTAT');
      for (const operation of operations) await operation();
      const { evalsha, eval: evals = 0 } = await commandCalls();
      expect({ evalsha, evals }).toEqual({ evalsha: 4, evals: 0 });

      await admin.script('FLUSH');
      await admin.config('RESETSTAT');
      await lock.acquire(name, 'mine', LONG_MS);
      await lock.acquire(name, 'mine', LONG_MS);
      expect(await commandCalls()).toMatchObject({ evalsha: 2, eval: 1 });
    });

    it('G70 does not mind SCRIPT FLUSH between any two commands, nor while many are under way', async () => {
      const { lock } = lockBy();
      const flush = () => admin.script('FLUSH');
      await flush();
      expect(await lock.acquire(name, 'mine', LONG_MS)).toEqual(LOCKED);
      await flush();
      expect((await lock.acquire(name, 'other', LONG_MS)).acquired).toBe(false);
      await flush();
      expect(await lock.extend([{ name, token: 'mine' }], LONG_MS)).toEqual([true]);
      await flush();
      expect(await lock.release(name, 'mine')).toBe(true);

      const names = Array.from({ length: 300 }, (_, i) => `${name}:${i}`);
      const { lock: pipelined } = lockBy(server.url, { enableAutoPipelining: true });
      const work = names.flatMap((each) => [lock, pipelined].map((by) => by.acquire(each, 'mine', LONG_MS)));
      const flushes = Array.from({ length: 20 }, flush);
      expect((await Promise.all(work)).every(({ acquired }) => acquired)).toBe(true);
      await Promise.all(flushes);
    });
  });

  describe('fences', () => {
    async function nextFence(lock: RedisLock): Promise<bigint> {
      const answer = await lock.acquire(name, 'mine', LONG_MS);
      if (!answer.acquired) throw new Error('busy');
      await lock.release(name, 'mine');
      return answer.fence;
    }

    it('G14 grow after FLUSHALL and after a restart that forgot everything', async () => {
      await using forgetful = await startRedis();
      const { lock, client } = lockBy(forgetful.url);
      const first = await nextFence(lock);
      await client.flushall();
      const second = await nextFence(lock);
      expect(second).toBeGreaterThan(first);
      await forgetful.restart();
      await until(() => client.status === 'ready');
      expect(await nextFence(lock)).toBeGreaterThan(second);
    });

    it('G14 grow when the clock of the server steps back', async () => {
      const { lock } = lockBy();
      await nextFence(lock);
      const ahead = BigInt(Date.now() + 3_600_000) * 1_000n;
      for (const key of await admin.keys('*:fence')) await admin.set(key, String(ahead));
      expect([await nextFence(lock), await nextFence(lock)]).toEqual([ahead + 1n, ahead + 2n]);
      await admin.flushall();
    });

    it('leave a bounded number of keys behind', async () => {
      const { lock, client } = lockBy();
      await client.ping();
      const names = Array.from({ length: 10_000 }, (_, i) => `${name}:${i}`);
      await Promise.all(names.map((each) => lock.acquire(each, 'mine', LONG_MS)));
      await Promise.all(names.map((each) => lock.release(each, 'mine')));
      expect(await admin.dbsize()).toBeLessThanOrEqual(4_096);
    });
  });

  describe('lost replies', () => {
    it('G03 recognises its own lock when ioredis sends the acquire again', async () => {
      await using proxy = await startProxy(server.port);
      const { lock, client } = lockBy(proxy.url(server.url), resending);
      await client.ping();
      const begun = performance.now();
      proxy.cutReply({ matching: 'evalsha' });
      expect(await lock.acquire(name, 'mine', LONG_MS)).toEqual(LOCKED);
      expect(proxy.cuts).toBe(1);
      expect(performance.now() - begun).toBeLessThan(2_000);
      expect(await admin.pttl((await admin.keys(`*:lock:${name}`))[0]!)).toBeGreaterThan(LONG_MS - 2_000);
    });

    it('says "not held" of a release that is sent again, and the lock is gone', async () => {
      await using proxy = await startProxy(server.port);
      const { lock } = lockBy(proxy.url(server.url), resending);
      await lock.acquire(name, 'mine', LONG_MS);
      proxy.cutReply({ matching: 'evalsha' });
      expect(await lock.release(name, 'mine')).toBe(false);
      expect(await isFree()).toBe(true);
    });
  });

  describe('G61 refusals of the server are errors, never "busy" and never "not yours"', () => {
    async function expectAll(lock: RedisLock, message: RegExp): Promise<void> {
      await expect(lock.acquire(name, 'other', LONG_MS)).rejects.toThrow(message);
      await expect(lock.extend([{ name, token: 'other' }], LONG_MS)).rejects.toThrow(message);
      await expect(lock.release(name, 'other')).rejects.toThrow(message);
    }

    it('READONLY of a replica, also about a lock that somebody holds', async () => {
      await using replica = await startRedis({ args: ['--replicaof', '127.0.0.1', String(server.port)] });
      const { lock, client } = lockBy(replica.url);
      await until(async () => (await client.info('replication')).includes('master_link_status:up'));
      await expectAll(lock, /^READONLY/);
      await lockBy().lock.acquire(name, 'holder', LONG_MS);
      await until(async () => (await client.keys(`*:lock:${name}`)).length === 1);
      await expectAll(lock, /^READONLY/);
    });

    it('LOADING', async () => {
      await using loading = await startRedis({
        args: [
          ...['--enable-debug-command', 'yes', '--rdbcompression', 'no'],
          ...['--loading-process-events-interval-bytes', '1024'],
        ],
      });
      const { lock, client } = lockBy(loading.url, { enableReadyCheck: false });
      const other = redisClient(loading.url);
      await other.mset(
        Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`key ${i}`, 'x'.repeat(1_000)])),
      );
      await client.ping();
      await other.config('SET', 'key-load-delay', '20000');
      const reloaded = other.call('DEBUG', 'RELOAD');
      await until(async () => /loading:1/.test(await client.info('persistence')));
      await expectAll(lock, /^LOADING/);
      await other.config('SET', 'key-load-delay', '0').catch(() => undefined);
      await reloaded;
    });

    it('OOM; what is held can still be extended and released', async () => {
      await using full = await startRedis();
      const { lock, client } = lockBy(full.url);
      await lock.acquire(name, 'mine', 1_000);
      await client.config('SET', 'maxmemory', '1');
      await expect(lock.acquire('another', 'mine', LONG_MS)).rejects.toThrow(/^OOM/);
      expect(await lock.extend([{ name, token: 'mine' }], LONG_MS)).toEqual([true]);
      expect(await lock.release(name, 'mine')).toBe(true);
    });

    it('a script that blocks the server', async () => {
      await using busy = await startRedis({ args: ['--busy-reply-threshold', '20'] });
      const { lock, client } = lockBy(busy.url);
      await client.ping();
      const endless = redisClient(busy.url).eval('while true do end', 0);
      const ended = endless.catch((error: Error) => error.message);
      await sleep(200);
      await expectAll(lock, /^BUSY/);
      await client.script('KILL');
      expect(await ended).toMatch(/killed/);
    });

    it('a user who may not do it; one who may not publish releases nevertheless', async () => {
      await admin.call('ACL', 'SETUSER', 'nobody', 'on', '>secret', '~*', '+@all', '-evalsha', '-eval');
      await admin.call('ACL', 'SETUSER', 'quiet', 'on', '>secret', '~*', '+@all', 'resetchannels');
      const login = { password: 'secret' };
      await expectAll(lockBy(server.url, { username: 'nobody', ...login }).lock, /^NOPERM/);
      const { lock } = lockBy(server.url, { username: 'quiet', ...login });
      await lock.acquire(name, 'mine', LONG_MS);
      expect(await lock.release(name, 'mine')).toBe(true);
      await expect(lock.watch(name, () => undefined)).rejects.toThrow(/^NOPERM/);
    });
  });

  describe('G85 a Redis that is down', () => {
    it('is told at once, nothing is queued for it, and all is well when it is back', async () => {
      await using mortal = await startRedis();
      const { lock, client } = lockBy(mortal.url, resending);
      await lock.acquire(name, 'mine', LONG_MS);
      await mortal.kill();
      await until(() => client.status !== 'ready');
      const begun = performance.now();
      for (let round = 0; round < 50; round++) {
        await expect(lock.acquire(name, 'late', LONG_MS)).rejects.toThrow('The Redis client is not ready');
        await expect(lock.extend([{ name, token: 'mine' }], LONG_MS)).rejects.toThrow('not ready');
        await expect(lock.release(name, 'late')).rejects.toThrow('not ready');
        await expect(lock.watch(name, () => undefined)).rejects.toThrow('not ready');
        await sleep(5);
      }
      expect(performance.now() - begun).toBeLessThan(2_000);
      await mortal.restart();
      await until(() => client.status === 'ready');
      await client.ping();
      expect(await client.info('commandstats')).not.toContain('evalsha');
      expect(await client.keys('*')).toEqual([]);
      expect(await lock.acquire(name, 'next', LONG_MS)).toEqual(LOCKED);
    });

    it('a late acquire is followed by the release of who gave up: a paused server', async () => {
      await using slow = await startRedis();
      const { lock, client } = lockBy(slow.url);
      await lock.acquire(name, 'early', LONG_MS);
      await lock.release(name, 'early');
      await slow.pause();
      const acquired = lock.acquire(name, 'late', LONG_MS);
      await sleep(50);
      const released = lock.release(name, 'late');
      await slow.resume();
      expect(await acquired).toEqual(LOCKED);
      expect(await released).toBe(true);
      expect(await client.keys('*:lock:*')).toEqual([]);
    });

    it('a late acquire is followed by the release of who gave up: a broken connection', async () => {
      await using proxy = await startProxy(server.port);
      const { lock, client } = lockBy(proxy.url(server.url), resending);
      await client.ping();
      proxy.drop();
      const acquired = lock.acquire(name, 'late', LONG_MS);
      await sleep(50);
      proxy.closeConnections();
      await until(() => client.status !== 'ready');
      await expect(lock.release(name, 'late')).rejects.toThrow('not ready');
      proxy.pass();
      // ioredis sends it again.
      expect(await acquired).toEqual(LOCKED);
      await until(isFree);
    });

    it('a holder that releases while the connection is down is heard when it is back', async () => {
      await using proxy = await startProxy(server.port);
      const { lock, client } = lockBy(proxy.url(server.url), resending);
      await lock.acquire(name, 'mine', LONG_MS);
      proxy.drop();
      proxy.closeConnections();
      await until(() => client.status !== 'ready');
      await expect(lock.release(name, 'mine')).rejects.toThrow('not ready');
      expect(await isFree()).toBe(false);
      proxy.pass();
      await until(isFree);
    });

    it('a script the server has forgotten is not sent again for who gave up', async () => {
      await using slow = await startRedis();
      const { lock, client } = lockBy(slow.url);
      // RELEASE is known to the server, ACQUIRE is not: only the acquire has to be sent twice.
      await lock.release(name, 'nobody');
      await slow.pause();
      const acquired = lock.acquire(name, 'late', LONG_MS);
      await sleep(20);
      const released = lock.release(name, 'late');
      await slow.resume();
      await expect(acquired).rejects.toThrow('Given back');
      expect(await released).toBe(false);
      expect(await client.keys('*:lock:*')).toEqual([]);
    });

    it('is waited for only while the client connects for the first time', async () => {
      const { lock, client } = lockBy(server.url);
      expect(client.status).toBe('connecting');
      expect(await lock.acquire(name, 'mine', LONG_MS)).toEqual(LOCKED);

      await using proxy = await startProxy(server.port);
      proxy.drop();
      const { lock: hanging, client: connecting } = lockBy(proxy.url(server.url));
      const begun = performance.now();
      const acquired = hanging.acquire('hanging', 'mine', LONG_MS);
      await expect(acquired).rejects.toThrow('not ready (status "connect")');
      expect(performance.now() - begun).toBeLessThan(1_500);
      proxy.pass();
      await until(() => connecting.status === 'ready');
      expect(await admin.keys('*:lock:hanging')).toEqual([]);
    });

    it('is not waited for when it refuses the connection, or when the client was ended', async () => {
      const gone = await startRedis();
      await gone.stop();
      const { lock, client } = lockBy(gone.url);
      const begun = performance.now();
      await expect(lock.acquire(name, 'mine', LONG_MS)).rejects.toThrow('not ready');
      client.disconnect();
      await expect(lock.acquire(name, 'mine', LONG_MS)).rejects.toThrow('not ready');
      const { lock: ended, client: quitting } = lockBy();
      await quitting.quit();
      await expect(ended.acquire(name, 'mine', LONG_MS)).rejects.toThrow('not ready (status "end")');
      expect(performance.now() - begun).toBeLessThan(900);
    });
  });

  describe('G62 the connection for wake-ups', () => {
    async function subscribers(): Promise<number> {
      return String(await admin.call('CLIENT', 'LIST', 'TYPE', 'pubsub'))
        .split('\n')
        .filter(Boolean).length;
    }

    it('is made at the first watch, is one for lock and store of a client, and ends with the client', async () => {
      const { lock, client } = lockBy(server.url, { connectionName: 'watching' });
      const store = redisStore({ client });
      await lock.acquire(name, 'mine', LONG_MS);
      expect(await subscribers()).toBe(0);
      const stops = await Promise.all([
        lock.watch(name, () => undefined),
        lock.watch(`${name}:b`, () => undefined),
        redisLock({ client }).watch(name, () => undefined),
        store.watch(name, () => undefined),
      ]);
      expect(await subscribers()).toBe(1);
      expect(await admin.pubsub('CHANNELS')).toHaveLength(3);
      for (const stop of stops) stop();
      await until(async () => ((await admin.pubsub('CHANNELS')) as string[]).length === 0);
      client.disconnect();
      await until(async () => !String(await admin.client('LIST')).includes('name=watching'));
    });

    it.each<[string, (proxy: { closeConnections(): void }) => unknown]>([
      ['it alone broke', () => admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub')],
      ['both broke', (proxy) => proxy.closeConnections()],
    ])('is made anew when %s, and wakes for what may have been missed', async (_, breakIt) => {
      await using proxy = await startProxy(server.port);
      const { lock, client } = lockBy(proxy.url(server.url));
      await lock.acquire(name, 'mine', LONG_MS);
      let wakes = 0;
      await lock.watch(name, () => wakes++);
      await breakIt(proxy);
      await until(() => wakes === 1);
      expect(await subscribers()).toBe(1);
      const { lock: other } = lockBy();
      await other.release(name, 'mine');
      await until(() => wakes === 2);
      client.disconnect();
    });

    it('does not outlive a client that is ended while it reconnects', async () => {
      const { lock, client } = lockBy(server.url, {
        connectionName: 'reconnecting',
        retryStrategy: () => 60_000,
      });
      await lock.watch(name, () => undefined);
      expect(await subscribers()).toBe(1);
      await admin.call('CLIENT', 'KILL', 'ID', String(await client.client('ID')));
      await until(() => client.status === 'reconnecting');
      client.disconnect();
      await until(async () => !String(await admin.client('LIST')).includes('name=reconnecting'));
    });

    it('does not hold up a process that has ended its client while all is broken', async () => {
      await using proxy = await startProxy(server.port);
      const { lock, client } = lockBy(proxy.url(server.url), { retryStrategy: () => 60_000 });
      await lock.watch(name, () => undefined);
      proxy.drop();
      proxy.closeConnections();
      await until(() => client.status === 'reconnecting');
      client.disconnect();
      proxy.pass();
      await sleep(1_200);
      expect(proxy.connections).toBe(0);
    });
  });

  describe('names', () => {
    it('have keys of bounded length, and however alike they are, locks of their own', async () => {
      const { lock, client } = lockBy();
      await client.ping();
      const long = Array.from({ length: 5_000 }, (_, i) => `${'x'.repeat(1_000)}${i}`);
      const halves = Array.from({ length: 2_048 }, (_, i) => String.fromCharCode(0xd800 + i));
      const answers = await Promise.all(
        [...long, ...halves].map((each, i) => lock.acquire(each, `holder ${i}`, LONG_MS)),
      );
      expect(answers.filter(({ acquired }) => !acquired)).toEqual([]);
      expect((await admin.keys('*')).every((key) => key.length < 250)).toBe(true);
      await admin.flushall();
    });
  });

  describe('options', () => {
    it('G83 are checked at once, in words that name option, value and fix', () => {
      const make = (options: unknown) => () => redisLock(options as never);
      const fix = 'it must be an ioredis client, e.g. redisLock({ client: new Redis(url) })';
      expect(make({})).toThrow(`redisLock({ client }): client is undefined; ${fix}`);
      expect(make({ client: 'redis://:secret@host' })).toThrow(`client is a string; ${fix}`);
      expect(make({ client: new Map() })).toThrow(`client is an object of class Map; ${fix}`);
      expect(make(undefined)).toThrow(`client is undefined; ${fix}`);
      expect(make({ client: admin, keyPrefix: 'a{b}' })).toThrow(
        'keyPrefix is "a{b}"; it must be text without { and }',
      );
    });

    it('apps with different prefixes share no locks', async () => {
      const locks = ['shop:', 'bank:'].map((keyPrefix) => redisLock({ client: admin, keyPrefix }));
      for (const lock of locks) expect(await lock.acquire(name, 'mine', LONG_MS)).toEqual(LOCKED);
      expect(await admin.keys(`shop:{*}:lock:${name}`)).toHaveLength(1);
    });
  });
});

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${condition}`);
    await sleep(5);
  }
}
