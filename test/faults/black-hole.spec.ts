import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../../lib/engine/clock.js';
import { IdempotencyError, LockLostError } from '../../lib/idempotency.errors.js';
import { LockService } from '../../lib/locks/lock.service.js';
import { memoryLock } from '../../lib/locks/memory.lock.js';
import type { LockLease } from '../../lib/locks/lock-lease.js';
import { memoryStore } from '../../lib/stores/memory.store.js';
import { MARIADB, POSTGRES, REDIS, redisUrl } from '../support/fixtures/grid.js';
import { identityOf, TestNode } from '../support/fixtures/node.js';
import { openStack, type Stack, type StackUrls } from '../support/fixtures/stacks.js';
import { startProxy } from '../support/proxy.js';
import { redisClient } from '../support/redis-client.js';
import { startRedis } from '../../sample-app/servers/servers.js';

const TTL_MS = 600;

async function acquired(locks: LockService | undefined, name: string, options = {}): Promise<LockLease> {
  const result = await locks!.acquire(name, { ttlMs: TTL_MS, ...options });
  if (result.status !== 'acquired') throw new Error(result.status);
  return result.lease;
}

/** Resolves with the reason. */
async function aborted(signal: AbortSignal): Promise<unknown> {
  if (!signal.aborted) await once(signal, 'abort');
  return signal.reason;
}

describe.each<
  [string, (urls: StackUrls) => Promise<{ stack: Stack; cutOff: () => unknown; end: () => unknown }>]
>([
  [
    'a black hole',
    async (urls) => {
      const proxy = await startProxy(Number(new URL(urls.lock).port));
      const stack = await openStack({ ...urls, lock: proxy.url(urls.lock) as `redis://${string}` });
      return { stack, cutOff: () => proxy.drop(), end: () => proxy.close() };
    },
  ],
  [
    'a stopped server',
    async (urls) => {
      const server = await startRedis();
      const stack = await openStack({ ...urls, lock: server.url as `redis://${string}` });
      return { stack, cutOff: () => server.pause(), end: () => server.stop() };
    },
  ],
])('%s between a process and its lock', (_, cut) => {
  it('G12 the owner ceases to believe by itself, before the server gives the lock away', async () => {
    const { stack, cutOff, end } = await cut({ lock: redisUrl(), store: 'memory' });
    const name = randomUUID();
    const lease = await acquired(new LockService(stack.lock!), name);
    // Some renewals have taken place.
    await sleep(TTL_MS);
    expect(lease.remainingMs()).toBeGreaterThan(0);
    const { signal } = lease;
    await cutOff();
    const reason = await aborted(signal);
    expect(reason).toBeInstanceOf(LockLostError);
    expect(lease.remainingMs()).toBe(0);
    expect(() => lease.assertHeld()).toThrow(LockLostError);
    await stack.close();
    await end();
  });
});

it('G12 who believes to hold a lock holds it: seen from the server, to the last moment', async () => {
  const urls = { lock: redisUrl(), store: 'memory' } as const;
  await using proxy = await startProxy(Number(new URL(urls.lock).port));
  await using stack = await openStack({ ...urls, lock: proxy.url(urls.lock) as `redis://${string}` });
  const direct = redisClient(urls.lock);
  const name = randomUUID();
  const lease = await acquired(new LockService(stack.lock!), name);
  await sleep(TTL_MS);
  const [redisKey] = await direct.keys(`*:lock:${name}`);
  proxy.drop();
  // What was under way may still have reached the server; afterwards nothing does.
  await sleep(50);
  const expiresAt = Number(await direct.call('PEXPIRETIME', redisKey!));
  let believedAt = 0;
  for (let held = true; held;) {
    const now = Date.now();
    held = lease.remainingMs() > 0;
    if (held) believedAt = now;
    await sleep(1);
  }
  expect(believedAt).toBeGreaterThan(0);
  expect(believedAt).toBeLessThan(expiresAt);
  await using other = await openStack(urls);
  await acquired(new LockService(other.lock!), name, { waitMs: 2_000 });
});

describe.each([REDIS, POSTGRES, MARIADB])('a black hole before store $name', ({ create }) => {
  it('G12 aborts the signal of the handler, which takes no further step; another process takes over', async () => {
    const urls = { lock: 'none', store: await create() } as const;
    await using proxy = await startProxy(Number(new URL(urls.store).port));
    await using cutOff = await openStack({ ...urls, store: proxy.url(urls.store) as typeof urls.store });
    await using other = await openStack(urls);
    const options = { leaseMs: TTL_MS, backendTimeoutMs: 400 };
    const key = randomUUID();
    const successor = new TestNode({ ...other, options });
    let taken: unknown;
    const late = new TestNode({ ...cutOff, options }).run({ key }, async (context) => {
      proxy.drop();
      const reason = await aborted(context.signal);
      expect(reason).toMatchObject({ code: 'lease-lost' });
      expect(() => context.assertHeld()).toThrow(IdempotencyError);
      taken = await successor.run({ key, options: { onConflict: 'wait' } }, () => 'paid by the successor');
      proxy.pass();
      return 'paid twice';
    });
    expect(await late).toMatchObject({ value: 'paid by the successor', replayed: true });
    expect(taken).toMatchObject({ value: 'paid by the successor', replayed: false, attempt: 2 });
  });
});

describe('G12 two clocks', () => {
  let skew: { mono: number; wall: number };
  let clock: Clock;
  let lease: LockLease;

  beforeEach(async () => {
    skew = { mono: 0, wall: 0 };
    clock = { mono: () => performance.now() + skew.mono, wall: () => Date.now() + skew.wall };
    // The lock's own clock is the server's, which does not jump.
    lease = await acquired(new LockService(memoryLock(), { clock }), 'order:1', { ttlMs: 60_000 });
  });
  afterEach(() => lease.release());

  it('the wall clock jumps ahead: lost, early and safe', async () => {
    skew.wall = 60_000;
    expect(() => lease.assertHeld()).toThrow(LockLostError);
    expect(await aborted(lease.signal)).toBeInstanceOf(LockLostError);
  });

  it('the wall clock jumps back: the monotonic clock decides', () => {
    skew.wall = -3_600_000;
    skew.mono = 59_000;
    lease.assertHeld();
    skew.mono = 60_000;
    expect(() => lease.assertHeld()).toThrow(LockLostError);
  });

  it('the machine was suspended and its monotonic clock stood still: the wall clock decides', () => {
    skew.mono = -30_000;
    skew.wall = 59_500;
    expect(() => lease.assertHeld()).toThrow(LockLostError);
  });

  it('a jump of the wall clock is noticed by the keeper, without anybody asking', async () => {
    const locks = new LockService(memoryLock(), { clock });
    const short = await acquired(locks, 'order:2', { ttlMs: 300 });
    const { signal } = short;
    skew.wall = 3_600_000;
    expect(await aborted(signal)).toBeInstanceOf(LockLostError);
    expect((await locks.acquire('order:2', { ttlMs: 300, waitMs: 2_000 })).status).toBe('acquired');
  });

  it('the same for the claim of a key', async () => {
    const node = new TestNode({ store: memoryStore(), clock });
    const owner = await node.own({ key: 'order:3', options: { leaseMs: 60_000 } });
    expect(owner.isHeld()).toBe(true);
    skew.wall = 60_000;
    expect(owner.isHeld()).toBe(false);
    expect(owner.signal.reason).toMatchObject({ code: 'lease-lost' });
    // A duplicate in this process is not answered out of a belief that is over: the store decides.
    await expect(node.begin({ key: 'order:3' })).rejects.toMatchObject({ code: 'in-progress' });
    expect(identityOf({ key: 'order:3' }).id).toHaveLength(64);
  });
});
