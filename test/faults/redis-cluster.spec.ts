import { setTimeout as sleep } from 'node:timers/promises';
import { LockService } from 'nestjs-idempotent';
import { redisLock } from 'nestjs-idempotent/locks/redis';
import { redisStore } from 'nestjs-idempotent/stores/redis';
import { KeySpace, slotOf } from '../../lib/redis/keys.js';
import { type ClusterNode, type RedisCluster, startCluster } from '../support/cluster.js';
import { TestNode } from '../support/fixtures/node.js';

const TTL_MS = 60_000;

/** Another name with the same hash tag. */
function neighbourOf(name: string): string {
  const keys = new KeySpace();
  for (let n = 0; ; n++) if (keys.fence(`neighbour ${n}`) === keys.fence(name)) return `neighbour ${n}`;
}

describe('a Redis Cluster of three masters', () => {
  let cluster: RedisCluster;

  beforeAll(async () => {
    cluster = await startCluster();
  }, 60_000);

  /** One process. */
  function startNode() {
    const client = cluster.client();
    const lock = redisLock({ client });
    const options = { backendTimeoutMs: 5_000, onConflict: 'wait', waitTimeoutMs: 20_000 } as const;
    const node = new TestNode({ lock, store: redisStore({ client }), options });
    return { locks: new LockService(lock, { backendTimeoutMs: 5_000 }), node };
  }

  const keysOf = async (nodes: readonly ClusterNode[], pattern: string) =>
    (await Promise.all(nodes.map(({ admin }) => admin.keys(pattern)))).flat();

  /** A lock whose keys are on that master. */
  async function nameOn(master: ClusterNode, text: string): Promise<string> {
    const { locks } = startNode();
    for (let n = 0; ; n++) {
      const name = `${text} ${n}`;
      const result = await locks.acquire(name, { ttlMs: TTL_MS });
      if (result.status !== 'acquired') throw new Error(result.status);
      const [key] = await keysOf(cluster.masters, `*:lock:${name}`);
      const owner = await cluster.ownerOf(key!);
      await result.lease.release();
      if (owner === master) return name;
    }
  }

  async function untilAcquired(locks: LockService, name: string): Promise<string[]> {
    const refusals: string[] = [];
    for (;;) {
      const { status } = await locks.acquire(name, { ttlMs: TTL_MS });
      if (status === 'acquired') return refusals;
      refusals.push(status);
      await sleep(20);
    }
  }

  it('G70 all keys of a call are in one slot, and calls run once on all masters', async () => {
    const [a, b] = [startNode(), startNode()];
    const keys = Array.from({ length: 30 }, (_, i) => `call ${i}`);
    let runs = 0;
    const work = async () => {
      runs++;
      await sleep(5);
      return 'paid';
    };
    const calls = keys.flatMap((key) => [a, b, a, b].map(({ node }) => node.run({ key }, work)));
    expect((await Promise.all(calls)).map(({ value }) => value)).toEqual(calls.map(() => 'paid'));
    expect(runs).toBe(keys.length);
    for (const { admin } of cluster.masters)
      expect((await admin.keys('*:record:*')).length).toBeGreaterThan(0);

    const listed: string[] = [];
    const store = redisStore({ client: cluster.client() });
    for (let cursor: string | null | undefined; cursor !== null;) {
      const page = await store.list({ state: 'completed', limit: 7, ...(cursor ? { cursor } : {}) });
      expect(page.records.length).toBeLessThanOrEqual(7);
      listed.push(...page.records.map(({ key }) => key));
      ({ cursor } = page);
    }
    expect([...new Set(listed)].sort()).toEqual([...keys].sort());
  });

  it('G62 waiters are woken, whichever master has their lock', async () => {
    const [a, b] = [startNode(), startNode()];
    for (const [i, master] of cluster.masters.entries()) {
      const name = await nameOn(master, `woken ${i}`);
      const held = await a.locks.acquire(name, { ttlMs: TTL_MS });
      if (held.status !== 'acquired') throw new Error(held.status);
      const waiting = b.locks.acquire(name, { ttlMs: TTL_MS, waitMs: 20_000 });
      await sleep(100);
      await held.lease.release();
      expect((await waiting).status).toBe('acquired');
    }
  });

  it('G70 a slot moves to another master while locks of it are held', async () => {
    const [from, to] = [cluster.masters[1]!, cluster.masters[2]!];
    const [a, b] = [startNode(), startNode()];
    const name = await nameOn(from, 'moved');
    const held = await a.locks.acquire(name, { ttlMs: TTL_MS });
    if (held.status !== 'acquired') throw new Error(held.status);
    const [key] = await keysOf([from], `*:lock:${name}`);
    const slot = Number(await from.admin.call('CLUSTER', 'KEYSLOT', key!));
    const tag = slotOf(key!);

    await to.admin.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', from.id);
    await from.admin.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', to.id);
    const keys = (await from.admin.call('CLUSTER', 'GETKEYSINSLOT', slot, 100)) as string[];
    expect(keys.every((one) => one.startsWith(tag))).toBe(true);
    for (const one of keys) await from.admin.call('MIGRATE', '127.0.0.1', to.server.port, one, 0, 5_000);
    // ASK: what is held is found where it went.
    expect(await b.locks.acquire(name, { ttlMs: TTL_MS })).toMatchObject({ status: 'busy' });
    await held.lease.extend(2 * TTL_MS);
    expect(held.lease.remainingMs()).toBeGreaterThan(TTL_MS);
    // TRYAGAIN: a new one would have to be made on both masters.
    const neighbour = neighbourOf(name);
    expect(await b.locks.acquire(neighbour, { ttlMs: TTL_MS })).toMatchObject({ status: 'unavailable' });

    for (const { admin } of [to, from, cluster.masters[0]!])
      await admin.call('CLUSTER', 'SETSLOT', slot, 'NODE', to.id);
    // MOVED
    expect(await b.locks.acquire(name, { ttlMs: TTL_MS })).toMatchObject({ status: 'busy' });
    expect(await held.lease.release()).toBe('released');
    expect(await b.locks.acquire(name, { ttlMs: TTL_MS })).toMatchObject({ status: 'acquired' });
    expect(await keysOf([to], `*:lock:${name}`)).toEqual([key]);
    expect(await untilAcquired(b.locks, neighbour)).toEqual([]);
  });

  it('G70 a master dies: unavailable until its replica has its slots, and what was replicated is held', async () => {
    const [first, second] = cluster.masters as [ClusterNode, ClusterNode];
    const [a, b] = [startNode(), startNode()];
    const names = [await nameOn(first, 'dies'), await nameOn(second, 'lives')] as const;
    for (const name of names) expect(await untilAcquired(a.locks, name)).toEqual([]);
    const fresh = await nameOn(first, 'fresh');
    await a.node.run({ key: 'before' }, () => 'paid');
    expect(await first.admin.wait(1, 5_000)).toBe(1);

    await cluster.replica.admin.config('SET', 'cluster-replica-no-failover', 'yes');
    await first.server.kill();
    expect(await b.locks.acquire(fresh, { ttlMs: TTL_MS })).toMatchObject({ status: 'unavailable' });
    await cluster.replica.admin.config('SET', 'cluster-replica-no-failover', 'no');
    for (const refusal of await untilAcquired(b.locks, fresh)) expect(refusal).toBe('unavailable');
    for (const name of names) {
      expect(await b.locks.acquire(name, { ttlMs: TTL_MS })).toMatchObject({ status: 'busy' });
    }
    expect(await b.node.run({ key: 'before' }, () => 'again')).toMatchObject({
      value: 'paid',
      replayed: true,
    });
    expect(String(await cluster.replica.admin.call('ROLE'))).toContain('master');
  }, 60_000);
});
