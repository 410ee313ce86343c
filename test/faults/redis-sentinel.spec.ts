import { setTimeout as sleep } from 'node:timers/promises';
import { type IdempotencyError, LockService } from 'nestjs-idempotent';
import { redisLock } from 'nestjs-idempotent/locks/redis';
import { redisStore } from 'nestjs-idempotent/stores/redis';
import { TestNode } from '../support/fixtures/node.js';
import { redisClient } from '../support/redis-client.js';
import { type Sentinels, startSentinels } from '../support/sentinel.js';

const TTL_MS = 60_000;

describe('Redis with three sentinels', () => {
  let sentinels: Sentinels;

  // Of its own for each: who has just been told to follow another master is no replica to promote yet.
  beforeEach(async () => {
    sentinels = await startSentinels();
  }, 60_000);

  /** One process. */
  function startNode() {
    const client = sentinels.client();
    const lock = redisLock({ client });
    const store = redisStore({ client });
    const options = { backendTimeoutMs: 500, onConflict: 'wait', waitTimeoutMs: 20_000 } as const;
    return { client, locks: new LockService(lock), node: new TestNode({ lock, store, options }) };
  }

  /** Whoever asked was told so, or got what he asked for. */
  async function retried<T extends { status: string }>(
    ask: () => Promise<T>,
  ): Promise<T & { refusals: string[] }> {
    const refusals: string[] = [];
    for (;;) {
      const answer = await ask();
      if (answer.status === 'acquired') return { ...answer, refusals };
      refusals.push(answer.status);
      await sleep(20);
    }
  }

  async function settled<T>(work: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if ((error as IdempotencyError).code !== 'unavailable') throw error;
        await sleep(20);
      }
    }
  }

  it.each([
    ['is killed', () => sentinels.master.kill()],
    ['is told to step down', () => sentinels.failover()],
  ])(
    'G70 the master %s: unavailable for a while, and what was replicated is held',
    async (how, switchOver) => {
      const [a, b] = [startNode(), startNode()];
      const before = await sentinels.masterPort();
      const held = await a.locks.acquire(`held ${how}`, { ttlMs: TTL_MS });
      if (held.status !== 'acquired') throw new Error(held.status);
      const first = await a.node.run({ key: `before ${how}` }, () => 'paid');
      expect(await redisClient(`redis://127.0.0.1:${before}`).wait(1, 5_000)).toBe(1);

      await switchOver();
      const fresh = await retried(() => b.locks.acquire(`fresh ${how}`, { ttlMs: TTL_MS }));
      expect(new Set(fresh.refusals)).toEqual(new Set(fresh.refusals.length ? ['unavailable'] : []));
      while ((await sentinels.masterPort()) === before) await sleep(20);
      let runs = 0;
      const calls = [a, b, a, b].map(({ node }) =>
        settled(() => node.run({ key: `during ${how}` }, () => ++runs)),
      );
      expect((await Promise.all(calls)).map(({ value }) => value)).toEqual([1, 1, 1, 1]);

      expect(await b.locks.acquire(`held ${how}`, { ttlMs: TTL_MS })).toMatchObject({ status: 'busy' });
      expect(held.lease.remainingMs()).toBeGreaterThan(0);
      expect(await settled(() => b.node.run({ key: `before ${how}` }, () => 'paid again'))).toMatchObject({
        value: first.value,
        replayed: true,
      });
      const waiting = b.locks.acquire(`held ${how}`, { ttlMs: TTL_MS, waitMs: 20_000 });
      expect(await held.lease.release()).toBe('released');
      const next = await waiting;
      if (next.status !== 'acquired') throw new Error(next.status);
      expect(next.lease.fence).toBeGreaterThan(held.lease.fence);

      // The one that was the master comes back as a replica and is asked nothing.
      if (how === 'is killed') await sentinels.master.restart();
      await retried(() => a.locks.acquire(`late ${how}`, { ttlMs: TTL_MS }));
      expect(await a.locks.acquire(`fresh ${how}`, { ttlMs: TTL_MS })).toMatchObject({ status: 'busy' });
      // Until it follows the new master, it cannot take over from it.
      const replica = redisClient(`redis://127.0.0.1:${before}`);
      while (!(await replica.info('replication').catch(() => '')).includes('master_link_status:up'))
        await sleep(50);
    },
    60_000,
  );
});
