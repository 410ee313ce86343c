import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, type Redis, type RedisOptions } from 'ioredis';
import { redisLock } from '../../lib/locks/redis/index.js';
import { type RedisStore, redisStore } from '../../lib/stores/redis/index.js';
import type { StoredResponse } from '../../lib/stores/result-store.js';
import { startProxy } from '../support/proxy.js';
import { redisClient } from '../support/redis-client.js';
import { type RedisServer, startRedis } from '../../sample-app/servers/servers.js';
import { sharedRedisUrl } from '../support/shared-servers.js';
import { describeSteps } from '../support/step-suite.js';
import { describeStore, found, newAct, newRequest, retryOf } from '../support/store-suite.js';

const LEASE_MS = 30_000;
const RETENTION_MS = 100_000;
const RESPONSE: StoredResponse = { status: 201, headers: { etag: '"1"' }, body: Buffer.from('paid') };
const CLAIMED = { claimed: true, attempt: 1, fence: expect.any(BigInt) };

describe.each<[string, RedisOptions]>([
  ['redis', {}],
  [
    'redis, a client with odd options',
    { enableAutoPipelining: true, stringNumbers: true, keyPrefix: 'app:' },
  ],
])('%s', (name, options) => {
  const create = async () => {
    const clients = [redisClient(sharedRedisUrl(), options), redisClient(sharedRedisUrl(), options)] as const;
    const [store, second] = [redisStore({ client: clients[0] }), redisStore({ client: clients[1] })];
    return { store, second, cleanup: async () => clients.forEach((client) => client.disconnect()) };
  };
  describeStore(name, create);
  describeSteps(name, create);
});

describeStore('redis, a Cluster', async () => {
  const node = await startRedis({ args: ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'] });
  const admin = redisClient(node.url);
  await admin.call('CLUSTER', 'ADDSLOTSRANGE', 0, 16_383);
  await until(async () => String(await admin.call('CLUSTER', 'INFO')).includes('cluster_state:ok'));
  const clients = [1, 2].map(() => new Cluster([{ host: '127.0.0.1', port: node.port }]));
  const [store, second] = clients.map((client) => redisStore({ client })) as [RedisStore, RedisStore];
  return {
    store,
    second,
    cleanup: async () => {
      for (const client of clients) client.disconnect();
      await node.stop();
    },
  };
});

describe('a Redis of its own', () => {
  let server: RedisServer;
  let admin: Redis;

  beforeAll(async () => {
    server = await startRedis({ args: ['--repl-diskless-sync-delay', '0'] });
    admin = redisClient(server.url);
  });
  afterAll(() => server.stop());

  function storeBy(url = server.url, options: RedisOptions = {}): { store: RedisStore; client: Redis } {
    const client = redisClient(url, options);
    return { store: redisStore({ client }), client };
  }

  /** As ioredis comes: commands under way are sent again when the connection is back. */
  const resending: RedisOptions = { maxRetriesPerRequest: null };

  const request = (changes = {}) => newRequest({ leaseMs: LEASE_MS, retentionMs: RETENTION_MS, ...changes });

  async function leftOf(id: string): Promise<number> {
    return admin.pttl((await admin.keys(`*:record:${id}`))[0]!);
  }

  async function commandCalls(): Promise<Record<string, number>> {
    const lines = (await admin.info('commandstats')).matchAll(/cmdstat_(\w+):calls=(\d+)/g);
    return Object.fromEntries([...lines].map(([, command, calls]) => [command, Number(calls)]));
  }

  it('takes one round trip for each operation, a replay included', async () => {
    const { store } = storeBy();
    const use = async () => {
      const first = request();
      await store.claim(first);
      await store.claim(retryOf(first));
      await store.renew([first], LEASE_MS);
      await store.complete(first.id, first.token, RESPONSE, RETENTION_MS);
      await store.claim(retryOf(first));
      await store.find(first.id);
    };
    await use();
    await admin.config('RESETSTAT');
    await use();
    expect(await commandCalls()).toMatchObject({ evalsha: 6 });
    expect(await commandCalls()).not.toHaveProperty('eval');
  });

  it('G70 does not mind SCRIPT FLUSH between any two commands', async () => {
    const { store } = storeBy();
    const { id, token } = request();
    const claim = request({ id, token });
    const operations: [() => Promise<unknown>, unknown][] = [
      [() => store.claim(claim), CLAIMED],
      [() => store.release(id, token, 'keep', RETENTION_MS), true],
      [() => store.claim(claim), { ...CLAIMED, attempt: 2 }],
      [() => store.renew([claim], LEASE_MS), [true]],
      [() => store.markUncertain(id, 'other'), false],
      [() => store.find(id), expect.objectContaining({ state: 'running' })],
      [() => store.complete(id, token, RESPONSE, RETENTION_MS), true],
      [
        () => store.claim(retryOf(claim)),
        { claimed: false, record: expect.objectContaining({ state: 'completed' }) },
      ],
    ];
    for (const [operation, answer] of operations) {
      await admin.script('FLUSH');
      expect(await operation()).toEqual(answer);
    }
  });

  it('Redis removes rows by itself: a row without result after its lease and its retention, an uncertain one never', async () => {
    const { store } = storeBy();
    const first = request();
    const about = (ms: number) => ({ from: ms - 5_000, to: ms });
    const expectLeft = async ({ from, to }: { from: number; to: number }, { id } = first) => {
      const left = await leftOf(id);
      expect(left).toBeGreaterThan(from);
      expect(left).toBeLessThanOrEqual(to);
    };
    await store.claim(first);
    await expectLeft(about(LEASE_MS + RETENTION_MS));
    await store.renew([first], 2 * LEASE_MS);
    await expectLeft(about(2 * LEASE_MS + RETENTION_MS));
    await store.release(first.id, first.token, 'keep', 50_000);
    await expectLeft(about(50_000));
    await store.claim(first);
    await expectLeft(about(LEASE_MS + RETENTION_MS));
    await store.complete(first.id, first.token, RESPONSE, RETENTION_MS);
    await expectLeft(about(RETENTION_MS));

    const lost = request();
    await store.claim(lost);
    await store.markUncertain(lost.id, lost.token);
    expect(await leftOf(lost.id)).toBe(-1);
    expect(await store.complete(lost.id, 'other', RESPONSE, RETENTION_MS)).toBe(false);
    expect(await leftOf(lost.id)).toBe(-1);
    expect(await store.sweep(100)).toBe(0);

    const orphan = request({ leaseMs: 20, retentionMs: 60 });
    await store.claim(orphan);
    await sleep(30);
    expect(await found(store, orphan.id)).toMatchObject({ state: 'running', leaseRemainingMs: 0 });
    await sleep(70);
    expect(await store.find(orphan.id)).toBeNull();
  });

  it('G14 fences grow after FLUSHALL and after a restart that forgot everything', async () => {
    await using forgetful = await startRedis();
    const { store, client } = storeBy(forgetful.url);
    const claim = request();
    const fences: bigint[] = [];
    const note = async () => {
      const answer = await store.claim(retryOf(claim));
      if (!answer.claimed) throw new Error('not claimed');
      fences.push(answer.fence);
    };
    await note();
    await client.flushall();
    await note();
    await forgetful.restart();
    await until(() => client.status === 'ready');
    await note();
    expect(fences).toEqual(fences.toSorted((a, b) => (a < b ? -1 : 1)));
    expect(new Set(fences).size).toBe(3);
  });

  it('survives a restart when that Redis persists', async () => {
    await using durable = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] });
    const { store, client } = storeBy(durable.url);
    const [done, lost, running] = [request(), request(), request()];
    for (const each of [done, lost, running]) await store.claim(each);
    await store.complete(done.id, done.token, RESPONSE, RETENTION_MS);
    await store.markUncertain(lost.id, lost.token);
    await durable.kill();
    await durable.restart();
    await until(() => client.status === 'ready');
    expect(await found(store, done.id)).toMatchObject({ state: 'completed', response: RESPONSE });
    expect(await found(store, lost.id)).toMatchObject({ state: 'uncertain', expiresAt: null });
    expect(await store.complete(running.id, running.token, RESPONSE, RETENTION_MS)).toBe(true);
  });

  describe('lost replies', () => {
    it('G03 recognises its own claim when ioredis sends it again', async () => {
      await using proxy = await startProxy(server.port);
      const { store, client } = storeBy(proxy.url(server.url), resending);
      await client.ping();
      proxy.cutReply({ matching: 'evalsha' });
      expect(await store.claim(request())).toEqual(CLAIMED);
      expect(proxy.cuts).toBe(1);
    });

    it('a completion that is sent again is a completion', async () => {
      await using proxy = await startProxy(server.port);
      const { store } = storeBy(proxy.url(server.url), resending);
      const claim = request();
      await store.claim(claim);
      proxy.cutReply({ matching: 'evalsha' });
      expect(await store.complete(claim.id, claim.token, RESPONSE, RETENTION_MS)).toBe(true);
      expect(proxy.cuts).toBe(1);
      expect(await found(store, claim.id)).toMatchObject({ state: 'completed', response: RESPONSE });
    });
  });

  describe('G61 refusals of the server are errors, never "somebody else\'s"', () => {
    it('READONLY of a replica; what is completed may be told by one', async () => {
      const { store: primary } = storeBy();
      const [running, done] = [request(), request()];
      for (const each of [running, done]) await primary.claim(each);
      await primary.complete(done.id, done.token, RESPONSE, RETENTION_MS);
      await using replica = await startRedis({ args: ['--replicaof', '127.0.0.1', String(server.port)] });
      const { store, client } = storeBy(replica.url);
      await until(async () => (await client.info('replication')).includes('master_link_status:up'));
      for (const each of [running, request()]) {
        const other = retryOf(each);
        await expect(store.claim(other)).rejects.toThrow(/^READONLY/);
        await expect(store.renew([other], LEASE_MS)).rejects.toThrow(/^READONLY/);
        await expect(store.complete(other.id, other.token, RESPONSE, LEASE_MS)).rejects.toThrow(/^READONLY/);
        await expect(store.release(other.id, other.token, 'keep', LEASE_MS)).rejects.toThrow(/^READONLY/);
        await expect(store.markUncertain(other.id, other.token)).rejects.toThrow(/^READONLY/);
        await expect(store.reserve(other.id, other.token, LEASE_MS)).rejects.toThrow(/^READONLY/);
        await expect(store.act(newAct({ id: other.id }))).rejects.toThrow(/^READONLY/);
      }
      expect(await store.claim(retryOf(done))).toMatchObject({ record: { state: 'completed' } });
    });

    it('OOM; leases are still renewed, results replayed, and a row can become uncertain', async () => {
      await using full = await startRedis();
      const { store, client } = storeBy(full.url);
      const [running, done] = [request(), request()];
      for (const each of [running, done]) await store.claim(each);
      await store.complete(done.id, done.token, RESPONSE, RETENTION_MS);
      await client.config('SET', 'maxmemory', '1');
      await expect(store.claim(request())).rejects.toThrow(/^OOM/);
      await expect(store.complete(running.id, running.token, RESPONSE, LEASE_MS)).rejects.toThrow(/^OOM/);
      expect(await store.renew([running], LEASE_MS)).toEqual([true]);
      expect(await store.claim(retryOf(done))).toMatchObject({ record: { response: RESPONSE } });
      expect(await store.markUncertain(running.id, running.token)).toBe(true);
      await client.config('SET', 'maxmemory', '0');
      expect(await store.claim(retryOf(running))).toMatchObject({ record: { state: 'uncertain' } });
    });

    it('a key that is not a record of ours', async () => {
      const { store, client } = storeBy();
      const claim = request();
      await store.claim(claim);
      const [key] = (await client.keys(`*:record:${claim.id}`)) as [string];
      await client.del(key);
      await client.lpush(key, 'x');
      await expect(store.claim(claim)).rejects.toThrow(/WRONGTYPE/);
      await expect(store.find(claim.id)).rejects.toThrow(/WRONGTYPE/);
    });
  });

  describe('G85 a Redis that is down', () => {
    it('is told at once, nothing is queued for it, and all is well when it is back', async () => {
      await using mortal = await startRedis();
      const { store, client } = storeBy(mortal.url, resending);
      const claim = request();
      await store.claim(claim);
      await mortal.kill();
      await until(() => client.status !== 'ready');
      const begun = performance.now();
      const operations = [
        () => store.claim(retryOf(claim)),
        () => store.find(claim.id),
        () => store.complete(claim.id, claim.token, RESPONSE, RETENTION_MS),
        () => store.renew([claim], LEASE_MS),
        () => store.release(claim.id, 'other', 'keep', RETENTION_MS),
        () => store.markUncertain(claim.id, claim.token),
        () => store.watch(claim.id, () => undefined),
      ];
      for (const operation of operations) {
        await expect(operation()).rejects.toThrow('The Redis client is not ready');
        await sleep(20);
      }
      expect(performance.now() - begun).toBeLessThan(1_000);
      await mortal.restart();
      await until(() => client.status === 'ready');
      await client.ping();
      expect(await client.keys('*')).toEqual([]);
      expect(await store.claim(retryOf(claim))).toEqual(CLAIMED);
    });

    it('a late claim is followed by the release of who gave up: a paused server', async () => {
      await using slow = await startRedis();
      const { store, client } = storeBy(slow.url);
      const warm = request();
      await store.claim(warm);
      await store.release(warm.id, warm.token, 'forget', RETENTION_MS);
      await slow.pause();
      const late = request();
      const claimed = store.claim(late);
      await sleep(50);
      const released = store.release(late.id, late.token, 'forget', RETENTION_MS);
      await slow.resume();
      expect(await claimed).toEqual(CLAIMED);
      expect(await released).toBe(true);
      expect(await client.keys('*:record:*')).toEqual([]);
    });

    it('a late claim is followed by the release of who gave up: a broken connection', async () => {
      await using proxy = await startProxy(server.port);
      const { store, client } = storeBy(proxy.url(server.url), resending);
      await client.ping();
      const late = request();
      proxy.drop();
      const claimed = store.claim(late);
      await sleep(50);
      proxy.closeConnections();
      await until(() => client.status !== 'ready');
      await expect(store.release(late.id, late.token, 'forget', RETENTION_MS)).rejects.toThrow('not ready');
      proxy.pass();
      // ioredis sends it again.
      expect(await claimed).toEqual(CLAIMED);
      await until(async () => (await admin.keys(`*:record:${late.id}`)).length === 0);
    });

    it('giving back a lock does not give back the claim of the same token and name', async () => {
      await using slow = await startRedis();
      const { store, client } = storeBy(slow.url);
      const lock = redisLock({ client });
      await client.ping();
      await slow.pause();
      const claim = request();
      const claimed = store.claim(claim);
      const acquired = lock.acquire(claim.id, claim.token, LEASE_MS);
      await sleep(20);
      const settled = Promise.allSettled([acquired, lock.release(claim.id, claim.token)]);
      await slow.resume();
      expect(await claimed).toEqual(CLAIMED);
      await settled;
      expect(await found(store, claim.id)).toMatchObject({ state: 'running', token: claim.token });
    });
  });

  it('a later attempt keeps the time the row was made', async () => {
    const { store } = storeBy();
    const first = request();
    await store.claim(first);
    const { createdAt } = await found(store, first.id);
    await store.release(first.id, first.token, 'keep', RETENTION_MS);
    await sleep(5);
    await store.claim(retryOf(first));
    expect(await found(store, first.id)).toMatchObject({ attempt: 2, createdAt });
  });

  it('stores a part of a larger array of bytes', async () => {
    const { store } = storeBy();
    const claim = request();
    await store.claim(claim);
    const body = Uint8Array.from([1, 2, 3, 4, 5]).subarray(1, 4);
    await store.complete(claim.id, claim.token, { ...RESPONSE, body }, RETENTION_MS);
    expect((await found(store, claim.id)).response?.body).toEqual(Buffer.from([2, 3, 4]));
  });

  it('wakes who waits for a row that becomes uncertain', async () => {
    const { store } = storeBy();
    const claim = request();
    await store.claim(claim);
    const woken = new Promise<void>(
      (wake) => void store.watch(claim.id, wake).then(() => store.markUncertain(claim.id, claim.token)),
    );
    await woken;
  });

  it('G83 checks its options at once, in words that name option, value and fix', () => {
    expect(() => redisStore({} as never)).toThrow(
      'redisStore({ client }): client is undefined; ' +
        'it must be an ioredis client, e.g. redisStore({ client: new Redis(url) })',
    );
    expect(() => redisStore({ client: admin, keyPrefix: '{x}' })).toThrow('redisStore({ keyPrefix })');
  });
});

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${condition}`);
    await sleep(5);
  }
}
