import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { LockService, memoryLock, memoryStore } from 'nestjs-idempotent';
import { redisLock } from 'nestjs-idempotent/locks/redis';
import { ManualClock } from 'nestjs-idempotent/testing';
import { IdempotencyEngine } from '../../lib/engine/engine.js';
import { LeaseKeeper } from '../../lib/engine/lease-keeper.js';
import type { CallPolicy } from '../../lib/engine/policy.js';
import { wrapped } from '../support/fixtures/wrapped.js';
import { startProxy } from '../support/proxy.js';
import { redisClient } from '../support/redis-client.js';
import { sharedRedisUrl } from '../support/shared-servers.js';

/** How long every answer is on its way. The server's life of the thing has begun before. */
const SLOW_MS = 400;
const LIFE_MS = 9_000;
/** What is left to believe in, after 1 % and 2 ms of drift, when the answer is here. */
const BELIEVED_MS = LIFE_MS - 92 - SLOW_MS;

const clock = new ManualClock();

/** The request was executed at once, but its answer was slow. */
const slowly = async <T>(next: () => Promise<T>): Promise<T> => {
  const answer = await next();
  clock.advance(SLOW_MS);
  return answer;
};

async function acquire(locks: LockService, name = 'order:1', ttlMs = LIFE_MS) {
  const result = await locks.acquire(name, { ttlMs });
  if (result.status !== 'acquired') throw new Error(result.status);
  return result.lease;
}

describe('G12 belief counts from before the request was sent', () => {
  it('of a lock', async () => {
    const locks = new LockService(wrapped(memoryLock(), { acquire: slowly }), { clock });
    const lease = await acquire(locks);
    expect(lease.remainingMs()).toBe(BELIEVED_MS);
    await lease.release();
  });

  it('of a lock that had to be waited for', async () => {
    const driver = memoryLock();
    const locks = new LockService(wrapped(driver, { acquire: slowly }), { clock });
    await driver.acquire('order:1', 'holder', 60_000);
    const waiting = locks.acquire('order:1', { ttlMs: LIFE_MS, waitMs: 60_000 });
    await sleep(20);
    await driver.release('order:1', 'holder');
    const result = await waiting;
    if (result.status !== 'acquired') throw new Error(result.status);
    expect(result.lease.remainingMs()).toBe(BELIEVED_MS);
    await result.lease.release();
  });

  it('of an extension by the owner', async () => {
    const locks = new LockService(wrapped(memoryLock(), { extend: slowly }), { clock });
    const lease = await acquire(locks);
    clock.advance(1_000);
    await lease.extend();
    expect(lease.remainingMs()).toBe(BELIEVED_MS);
    await lease.release();
  });

  it('of a renewal', async () => {
    let renewed!: () => void;
    const renewal = new Promise<void>((resolve) => (renewed = resolve));
    const driver = wrapped(memoryLock(), {
      extend: async (next) => {
        const answer = await slowly(next);
        setImmediate(renewed);
        return answer;
      },
    });
    const locks = new LockService(driver, { clock, keeper: new LeaseKeeper(clock, () => 0) });
    const lease = await acquire(locks, 'order:1', 1_000);
    // When the keeper's timer, which is a real one, fires after so long, the clock has to have come as far.
    clock.advance(300);
    await renewal;
    expect(lease.remainingMs()).toBe(1_000 - 12 - SLOW_MS);
    await lease.release();
  });

  it('of a claim', async () => {
    const engine = new IdempotencyEngine({
      store: wrapped(memoryStore(), { claim: slowly }),
      backendTimeoutMs: 2_000,
      log: { warn: () => undefined, error: () => undefined },
      clock,
    });
    const identity = { id: 'a'.repeat(64), scope: 'Refunds.create', key: '1', fingerprint: 'f' };
    const begun = await engine.begin(identity, policy);
    if (begun.kind !== 'run') throw new Error(begun.kind);
    expect(begun.ownership.running.leaseRemainingMs).toBe(BELIEVED_MS);
    await begun.ownership.release('forget');
  });

  it('so that it ends before the server’s, over a slow network', async () => {
    await using proxy = await startProxy(Number(new URL(sharedRedisUrl()).port));
    const locks = new LockService(redisLock({ client: redisClient(proxy.url(sharedRedisUrl())) }));
    const others = new LockService(redisLock({ client: redisClient(sharedRedisUrl()) }));
    const name = `order:${randomUUID()}`;
    // Connected, scripts known.
    await (await acquire(locks, `${name}:warm`)).release();
    proxy.delay(SLOW_MS);
    const lease = await acquire(locks, name);
    const seen = await others.acquire(name, { ttlMs: LIFE_MS });
    if (seen.status !== 'busy') throw new Error(seen.status);
    expect(lease.remainingMs()).toBeLessThan(seen.retryAfterMs);
    await lease.extend();
    const later = await others.acquire(name, { ttlMs: LIFE_MS });
    if (later.status !== 'busy') throw new Error(later.status);
    expect(lease.remainingMs()).toBeLessThan(later.retryAfterMs);
    proxy.pass();
    await lease.release();
  });
});

const policy = {
  leaseMs: LIFE_MS,
  maxHoldMs: 600_000,
  retentionMs: 60_000,
  onConflict: 'reject',
  waitTimeoutMs: 1_000,
  onOrphan: 'retry',
  onUnavailable: 'reject',
  backendTimeoutMs: 2_000,
  maxResponseBytes: 1_000,
  reconcileTimeoutMs: 5_000,
} satisfies CallPolicy;
