import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type LockDriver, LockService, memoryLock } from 'nestjs-idempotent';
import { redisLock, redlock } from 'nestjs-idempotent/locks/redis';
import { redisClient } from '../support/redis-client.js';
import { startRedis } from '../../sample-app/servers/servers.js';
import { sharedRedisUrl } from '../support/shared-servers.js';

const LONG_MS = 30_000;
const DELAY_MS = 500;

const redis = (url = sharedRedisUrl()) => redisClient(url);
/** Databases of one server that no worker of the tests has: enough where nothing fails. */
const three = () => [13, 14, 15].map((db) => redis(sharedRedisUrl().replace(/\d+$/, String(db))));

const PATIENT = { delayedRestart: false, keyPrefix: 'delay:', nodeTimeoutMs: 2_000 };

/** A driver with the delay, and one that shares its locks. */
type Pair = readonly [LockDriver, LockDriver];
const DRIVERS: [string, (lockDelayMs: number) => Pair][] = [
  [
    'memory',
    (lockDelayMs) => {
      const driver = memoryLock({ lockDelayMs });
      return [driver, driver];
    },
  ],
  [
    'redis',
    (lockDelayMs) => [
      redisLock({ client: redis(), lockDelayMs, keyPrefix: 'delay:' }),
      redisLock({ client: redis(), keyPrefix: 'delay:' }),
    ],
  ],
  [
    'redlock',
    (lockDelayMs) => [
      redlock({ clients: three(), lockDelayMs, ...PATIENT }),
      redlock({ clients: three(), ...PATIENT }),
    ],
  ],
];

describe.each(DRIVERS)('lockDelayMs of %s', (_, create) => {
  let lock: LockDriver;
  let other: LockDriver;
  let name: string;
  beforeAll(() => {
    [lock, other] = create(DELAY_MS);
  });
  beforeEach(() => {
    name = `order:${randomUUID()}`;
  });

  const acquire = (by: LockDriver, token: string, ttlMs = LONG_MS) => by.acquire(name, token, ttlMs);

  it('holds back a lock that ran out, for others who know of no delay, too', async () => {
    const begun = performance.now();
    expect(await acquire(lock, 'first')).toMatchObject({ acquired: true });
    expect(await lock.extend([{ name, token: 'first' }], 300)).toEqual([true]);
    await sleep(350);
    expect(await lock.extend([{ name, token: 'first' }], LONG_MS)).toEqual([false]);
    expect(await lock.release(name, 'first')).toBe(false);
    const answer = await acquire(other, 'second');
    if (answer.acquired) throw new Error('given away too early');
    expect(answer.retryAfterMs).toBeGreaterThan(0);
    expect(answer.retryAfterMs).toBeLessThanOrEqual(DELAY_MS);
    const result = await new LockService(other).acquire(name, { ttlMs: LONG_MS, waitMs: 10_000 });
    expect(result.status).toBe('acquired');
    expect(performance.now() - begun).toBeGreaterThanOrEqual(300 + DELAY_MS - 1);
    if (result.status === 'acquired') await result.lease.release();
  });

  it('does not hold back a lock that was released, nor its holder himself', async () => {
    expect(await acquire(lock, 'first')).toMatchObject({ acquired: true });
    expect(await lock.release(name, 'first')).toBe(true);
    expect(await acquire(other, 'second')).toMatchObject({ acquired: true });
    expect(await other.release(name, 'second')).toBe(true);
    const first = await acquire(lock, 'third');
    expect(await lock.extend([{ name, token: 'third' }], 50)).toEqual([true]);
    await sleep(80);
    const again = await acquire(lock, 'third');
    if (!first.acquired || !again.acquired) throw new Error('refused his own lock');
    expect(again.fence).toBeGreaterThanOrEqual(first.fence);
    expect(await lock.release(name, 'third')).toBe(true);
  });

  it('is checked', () => {
    for (const wrong of [-1, 1.5, Number.NaN, '5' as never]) {
      expect(() => create(wrong)).toThrow(
        `lockDelayMs is ${String(wrong)}; it must be an integer of at least 0 (milliseconds)`,
      );
    }
  });
});

it('G66 a restarted node has no vote for the delay, too', async () => {
  await using server = await startRedis();
  const options = { maxTtlMs: 1_000, lockDelayMs: 60_000, nodeTimeoutMs: 5_000 };
  const lock = redlock({ clients: [redis(server.url)], ...options });
  await expect(lock.acquire('order', 'token', 20_000)).rejects.toThrow('restarted');
  expect(lock.excluded[0]!.forMs).toBeGreaterThan(30_000);
});
