import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { Controller, Post } from '@nestjs/common';
import { type LockDriver, Locked, LockLease, LockService, memoryLock } from 'nestjs-idempotent';
import { redisLock, redlock } from 'nestjs-idempotent/locks/redis';
import { counted } from '../support/fixtures/wrapped.js';
import { Gate, MemoryLogger, startApp } from '../support/http-app.js';
import { redisClient } from '../support/redis-client.js';
import { sharedRedisUrl } from '../support/shared-servers.js';

/** The shared server, in a database of its own. */
const clientOf = (db: number) => redisClient(sharedRedisUrl().replace(/\d+$/, String(db)));
const DRIVERS: [string, () => LockDriver][] = [
  ['memory', () => memoryLock()],
  ['redis', () => redisLock({ client: redisClient(sharedRedisUrl()) })],
  [
    'redlock',
    () => redlock({ clients: [13, 14, 15].map(clientOf), delayedRestart: false, nodeTimeoutMs: 2_000 }),
  ],
];

let name: string;
beforeEach(() => {
  name = `order:${randomUUID()}`;
});

describe.each(DRIVERS)('%s', (_, create) => {
  let driver: ReturnType<typeof counted<LockDriver>>;
  let locks: LockService;
  beforeEach(() => {
    driver = counted(create());
    locks = new LockService(driver);
  });

  it('F16 what the work returned, or threw, is given back although the lock got lost meanwhile', async () => {
    const loseIt = async (lease: LockLease) => {
      await driver.release(name, lease.token);
      await lease.extend().catch(() => undefined);
      expect(lease.signal.aborted).toBe(true);
    };
    const paid = locks.using(name, { ttlMs: 10_000 }, async (lease) => {
      await loseIt(lease);
      return 'paid';
    });
    expect(await paid).toBe('paid');
    const failure = new Error('no money');
    const failed = locks.using(name, { ttlMs: 10_000 }, async (lease) => {
      await loseIt(lease);
      throw failure;
    });
    await expect(failed).rejects.toBe(failure);
  });

  it('G17 the release of a lock that ran out is one request, and not held', async () => {
    const result = await locks.acquire(name, { ttlMs: 10_000, renew: false });
    if (result.status !== 'acquired') throw new Error(result.status);
    const { lease } = result;
    await lease.extend(500);
    await once(lease.signal, 'abort');
    // Belief ends a little before the life.
    while (!(await driver.acquire(name, 'next', 10_000)).acquired);
    expect(await lease.release()).toBe('not-held');
    expect(driver.calls.release).toBe(1);
    expect(await driver.release(name, 'next')).toBe(true);
  });
});

it('locks are in the database that the client has selected, also after SCRIPT FLUSH', async () => {
  const [own, other] = [clientOf(12), clientOf(0)];
  const driver = redisLock({ client: own, keyPrefix: 'selected:' });
  for (const token of ['first', 'second']) {
    expect(await driver.acquire(name, token, 10_000)).toMatchObject({ acquired: true });
    expect((await own.keys(`selected:*:lock:${name}`)).length).toBe(1);
    expect(await other.keys('selected:*')).toEqual([]);
    expect(await driver.extend([{ name, token }], 10_000)).toEqual([true]);
    expect(await driver.release(name, token)).toBe(true);
    expect((await own.keys(`selected:*:lock:${name}`)).length).toBe(0);
    await own.script('FLUSH');
  }
});

it('G71 contention is nobody’s error: nothing is logged', async () => {
  const entered = new Gate();
  const leave = new Gate();
  @Controller('orders')
  class Orders {
    @Post()
    @Locked('order:{body.order}')
    async close() {
      entered.open();
      await leave.opened;
      return 'closed';
    }
  }
  const logger = new MemoryLogger();
  const lock = redisLock({ client: redisClient(sharedRedisUrl()) });
  await using app = await startApp({ controllers: [Orders], module: { lock }, logger });
  const first = app.post('/orders', null, { order: name });
  await entered.opened;
  const refused = await Promise.all([1, 2, 3].map(() => app.post('/orders', null, { order: name })));
  expect(refused.map(({ status }) => status)).toEqual([409, 409, 409]);
  leave.open();
  expect((await first).status).toBe(201);
  expect(logger.lines).toEqual([]);
});
