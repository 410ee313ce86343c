import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { BackendUnavailableError } from '../../lib/engine/backend.js';
import { LockLostError, LockNotAcquiredError } from '../../lib/idempotency.errors.js';
import type { LockDriver } from '../../lib/locks/lock-driver.js';
import type { LockLease } from '../../lib/locks/lock-lease.js';
import { type AcquireOptions, LockService } from '../../lib/locks/lock.service.js';
import { memoryLock } from '../../lib/locks/memory.lock.js';
import { redisLock } from '../../lib/locks/redis/index.js';
import { Gate, wrapped } from '../support/fixtures/wrapped.js';
import { startProcess } from '../support/processes.js';
import { startProxy } from '../support/proxy.js';
import { redisClient } from '../support/redis-client.js';
import { type RedisServer, startRedis } from '../../sample-app/servers/servers.js';
import { sharedRedisUrl } from '../support/shared-servers.js';

const TTL: AcquireOptions = { ttlMs: 20_000 };
/** Waits long enough for anything but for its end. */
const WAITING: AcquireOptions = { ttlMs: 20_000, waitMs: 10_000 };

let name: string;
beforeEach(() => {
  name = `order:${randomUUID()}`;
});

async function acquired(locks: LockService, options = TTL, lock = name): Promise<LockLease> {
  const result = await locks.acquire(lock, options);
  if (result.status !== 'acquired') throw new Error(`not acquired: ${JSON.stringify(result)}`);
  return result.lease;
}

const redisDriver = (url = sharedRedisUrl()) => redisLock({ client: redisClient(url) });

describe.each<[string, () => [LockDriver, LockDriver]]>([
  [
    'memory',
    () => {
      const driver = memoryLock();
      return [driver, driver];
    },
  ],
  ['redis', () => [redisDriver(), redisDriver()]],
])('LockService on %s', (_, create) => {
  let driver: LockDriver;
  /** Two processes. */
  let locks: LockService;
  let others: LockService;

  beforeAll(() => {
    let second: LockDriver;
    [driver, second] = create();
    locks = new LockService(driver);
    others = new LockService(second);
  });

  const isFree = async (lock = name) => {
    const result = await others.acquire(lock, TTL);
    if (result.status === 'acquired') await result.lease.release();
    return result.status === 'acquired';
  };

  it('G61 acquired: a lease', async () => {
    const lease = await acquired(locks);
    expect(lease.name).toBe(name);
    expect(lease.fence).toBeGreaterThan(0n);
    expect(lease.remainingMs()).toBeGreaterThan(15_000);
    // Belief ends 1 % and 2 ms before the life.
    expect(lease.remainingMs()).toBeLessThanOrEqual(20_000 - 202);
    expect(lease.signal.aborted).toBe(false);
    lease.assertHeld();
    expect(await isFree()).toBe(false);
    expect(await Promise.all([lease.release(), lease.release()])).toEqual(['released', 'released']);
    expect(lease.remainingMs()).toBe(0);
    expect(() => lease.assertHeld()).toThrow(LockLostError);
    expect(await isFree()).toBe(true);
    const next = await acquired(others);
    expect(next.fence).toBeGreaterThan(lease.fence);
    expect(next.token).not.toBe(lease.token);
    await next.release();
  });

  it('G61 busy: tells the time left, in its own process and from others', async () => {
    const lease = await acquired(locks, { ttlMs: 8_000 });
    for (const by of [locks, others]) {
      const result = await by.acquire(name, TTL);
      expect(result).toEqual({ status: 'busy', retryAfterMs: expect.any(Number), holder: lease.token });
      const { retryAfterMs } = result as { retryAfterMs: number };
      expect(retryAfterMs).toBeGreaterThan(4_000);
      expect(retryAfterMs).toBeLessThanOrEqual(8_000);
    }
    await lease.release();
  });

  it('G61 G18 timeout: who gives up removes nothing of the owner’s', async () => {
    const lease = await acquired(locks);
    const waiters = [locks, others, others].map((by) => by.acquire(name, { ...TTL, waitMs: 80 }));
    expect(await Promise.all(waiters)).toEqual(Array(3).fill({ status: 'timeout' }));
    expect(await isFree()).toBe(false);
    lease.assertHeld();
    expect(await lease.release()).toBe('released');
    // The line is in order: nobody who gave up is given the turn.
    for (const by of [locks, others]) await (await acquired(by)).release();
  });

  it('G61 G63 aborted before', async () => {
    const signal = AbortSignal.abort();
    expect(await locks.acquire(name, { ...WAITING, signal })).toEqual({ status: 'aborted' });
    expect(await isFree()).toBe(true);
  });

  it('G63 aborted while waiting, first in line or behind: at once, and the lock is not touched', async () => {
    const lease = await acquired(locks);
    const [first, behind] = [new AbortController(), new AbortController()];
    const waiting = others.acquire(name, { ...WAITING, signal: first.signal });
    const standing = others.acquire(name, { ...WAITING, signal: behind.signal });
    const last = others.acquire(name, WAITING);
    await sleep(50);
    const begun = performance.now();
    behind.abort();
    expect(await standing).toEqual({ status: 'aborted' });
    first.abort();
    expect(await waiting).toEqual({ status: 'aborted' });
    expect(performance.now() - begun).toBeLessThan(900);
    lease.assertHeld();
    expect(await lease.release()).toBe('released');
    const result = await last;
    expect(result.status).toBe('acquired');
    if (result.status === 'acquired') await result.lease.release();
  });

  it('G63 aborted while the backend is being asked: what it grants is given back', async () => {
    const gate = new Gate();
    const slow = new LockService(
      wrapped(driver, {
        acquire: async (next) => {
          const answer = await next();
          await gate.wait();
          return answer;
        },
      }),
    );
    const abort = new AbortController();
    const result = slow.acquire(name, { ...WAITING, signal: abort.signal });
    await gate.reached;
    abort.abort();
    gate.open();
    expect(await result).toEqual({ status: 'aborted' });
    await (await acquired(others, WAITING)).release();
  });

  it('G62 a waiter is woken by the release, long before it would look again', async () => {
    for (const by of [others, locks]) {
      const latencies: number[] = [];
      for (let round = 0; round < 3; round++) {
        const lease = await acquired(locks);
        const waiting = acquired(by, WAITING);
        await sleep(100);
        const begun = performance.now();
        await lease.release();
        await (await waiting).release();
        latencies.push(performance.now() - begun);
      }
      // It would look again after a second.
      expect(Math.min(...latencies)).toBeLessThan(600);
    }
  });

  it('G62 local waiters are served first come first served', async () => {
    const lease = await acquired(locks);
    const order: number[] = [];
    const served = Array.from({ length: 20 }, (_, i) => locks.using(name, WAITING, () => void order.push(i)));
    await lease.release();
    await Promise.all(served);
    expect(order).toEqual(Array.from({ length: 20 }, (_, i) => i));
  });

  it('using: returns what the work returns, and the lock is free', async () => {
    const value = await locks.using(name, TTL, async (lease) => {
      lease.assertHeld();
      expect(await isFree()).toBe(false);
      return 42;
    });
    expect(value).toBe(42);
    expect(await isFree()).toBe(true);
  });

  it('using: throws what the work throws, and the lock is free', async () => {
    const failure = new Error('no money');
    await expect(
      locks.using(name, TTL, () => {
        throw failure;
      }),
    ).rejects.toBe(failure);
    expect(await isFree()).toBe(true);
  });

  it('using: not acquired throws the status, and does not begin the work', async () => {
    await using _ = await acquired(locks);
    let began = false;
    const work = () => void (began = true);
    for (const [options, status] of [
      [TTL, 'busy'],
      [{ ...TTL, waitMs: 50 }, 'timeout'],
      [{ ...TTL, signal: AbortSignal.abort() }, 'aborted'],
    ] as const) {
      const error: unknown = await others.using(name, options, work).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(LockNotAcquiredError);
      expect(error).toMatchObject({ status, lock: name, message: expect.stringContaining(status) });
    }
    expect(began).toBe(false);
  });

  it('await using releases at the end of the block, also when it throws', async () => {
    const block = async () => {
      await using lease = await acquired(locks);
      lease.assertHeld();
      throw new Error('out of here');
    };
    await expect(block()).rejects.toThrow('out of here');
    expect(await isFree()).toBe(true);
  });

  it('is renewed until it is released; without renew it runs out', async () => {
    const renewed = await acquired(locks, { ttlMs: 300 });
    const left = await acquired(locks, { ttlMs: 300, renew: false }, `${name}:left`);
    await once(left.signal, 'abort');
    await sleep(300);
    renewed.assertHeld();
    expect([await isFree(), await isFree(`${name}:left`)]).toEqual([false, true]);
    expect(await left.release()).toBe('not-held');
    expect(await renewed.release()).toBe('released');
  });

  it('G16 is not renewed past maxHoldMs', async () => {
    const lease = await acquired(locks, { ttlMs: 300, maxHoldMs: 250 });
    const waiting = others.acquire(name, WAITING);
    await once(lease.signal, 'abort');
    expect((lease.signal.reason as Error).message).toBe(`Lock "${name}" is not held any more`);
    const result = await waiting;
    expect(result.status).toBe('acquired');
    if (result.status === 'acquired') await result.lease.release();
  });

  it('extend prolongs and shortens; by default to the life it had', async () => {
    const lease = await acquired(locks, { ttlMs: 400, renew: false });
    await lease.extend(9_000);
    expect(lease.remainingMs()).toBeGreaterThan(5_000);
    await sleep(450);
    expect(await isFree()).toBe(false);
    await lease.extend();
    expect(lease.remainingMs()).toBeGreaterThan(5_000);
    await lease.extend(100);
    await once(lease.signal, 'abort');
    await expect(lease.extend()).rejects.toThrow(LockLostError);
    await (await acquired(others, WAITING)).release();
  });

  it('extend of a lock somebody else has by now loses it', async () => {
    const lease = await acquired(locks);
    expect(await driver.release(name, lease.token)).toBe(true);
    const next = await acquired(others);
    await expect(lease.extend()).rejects.toThrow(LockLostError);
    expect(lease.signal.reason).toBeInstanceOf(LockLostError);
    expect(await lease.release()).toBe('not-held');
    next.assertHeld();
    expect(await next.release()).toBe('released');
  });

  it('F8 a lock an operator removed is lost at the next renewal, once, and its waiters go on', async () => {
    const lease = await acquired(locks, { ttlMs: 400 });
    let aborts = 0;
    lease.signal.addEventListener('abort', () => aborts++);
    const waiting = locks.acquire(name, WAITING);
    await driver.release(name, lease.token);
    const result = await waiting;
    expect(result.status).toBe('acquired');
    expect(() => lease.assertHeld()).toThrow(LockLostError);
    await sleep(200);
    expect(aborts).toBe(1);
    if (result.status === 'acquired') await result.lease.release();
  });

  it('a lease that ran out opens the local line, and its late release does not touch the next', async () => {
    const former = await acquired(locks, { ttlMs: 200, renew: false });
    const next = await acquired(locks, WAITING);
    expect(former.remainingMs()).toBe(0);
    expect(await former.release()).toBe('not-held');
    expect(await isFree()).toBe(false);
    // One turn was given on, not two.
    expect((await locks.acquire(name, { ...TTL, waitMs: 50 })).status).toBe('timeout');
    expect(await next.release()).toBe('released');
  });

  it('releaseAll releases what is still held', async () => {
    const service = new LockService(driver);
    const names = [1, 2, 3].map((i) => `${name}:${i}`);
    const leases = await Promise.all(names.map((lock) => acquired(service, TTL, lock)));
    await leases[0]!.release();
    await service.releaseAll();
    expect(await Promise.all(names.map(isFree))).toEqual([true, true, true]);
    expect(() => leases[1]!.assertHeld()).toThrow(LockLostError);
  });

  it('releaseAll leaves the locks that `using` works under, and drain waits for them', async () => {
    const service = new LockService(driver);
    const gate = new Gate();
    const working = service.using(`${name}:work`, TTL, () => gate.before(() => 'done'));
    await gate.reached;
    const idle = await acquired(service, TTL, `${name}:idle`);
    expect(await service.drain(20)).toBe(1);
    await service.releaseAll();
    expect([await isFree(`${name}:work`), await isFree(`${name}:idle`)]).toEqual([false, true]);
    expect(() => idle.assertHeld()).toThrow(LockLostError);
    const drained = service.drain(20_000);
    gate.open();
    expect(await drained).toBe(0);
    expect(await isFree(`${name}:work`)).toBe(true);
    expect(await working).toBe('done');
    expect(await service.drain(20_000)).toBe(0);
  });

  it('every attempt to get it has a token of its own', async () => {
    const tokens: string[] = [];
    const service = new LockService(
      wrapped(driver, {
        acquire: (next, _name, token) => {
          tokens.push(token);
          return next();
        },
      }),
    );
    const lease = await acquired(locks);
    const waiting = acquired(service, WAITING);
    while (tokens.length < 2) await sleep(5);
    await lease.release();
    const got = await waiting;
    expect(new Set(tokens).size).toBe(tokens.length);
    expect(got.token).toBe(tokens.at(-1));
    expect(await got.release()).toBe('released');
  });

  it('extend of a lock of which the backend cannot tell throws, and the lock is held as before', async () => {
    const service = new LockService(wrapped(driver, { extend: async () => [null] }));
    const lease = await acquired(service);
    await expect(lease.extend(60_000)).rejects.toThrow(BackendUnavailableError);
    lease.assertHeld();
    expect(lease.suspectSignal.aborted).toBe(true);
    await lease.release();
  });

  it('G13 waits with the release for a renewal under way, and renews never again', async () => {
    const gate = new Gate();
    const happened: string[] = [];
    const service = new LockService(
      wrapped(driver, {
        extend: async (next) => {
          happened.push('renewal sent');
          const answer = await next();
          await gate.wait();
          happened.push('renewal answered');
          return answer;
        },
        release: (next) => {
          happened.push('release sent');
          return next();
        },
      }),
    );
    const lease = await acquired(service, { ttlMs: 600 });
    await gate.reached;
    const released = lease.release();
    gate.open();
    expect(await released).toBe('released');
    await sleep(700);
    expect(happened).toEqual(['renewal sent', 'renewal answered', 'release sent']);
    expect(await isFree()).toBe(true);
  });

  it('believes no more than the server when extend and a renewal cross', async () => {
    const gate = new Gate();
    let calls = 0;
    const service = new LockService(
      wrapped(driver, {
        // The extension's answer comes late: a renewal falls due meanwhile.
        extend: async (next) => {
          const answer = await next();
          if (++calls === 1) await gate.wait();
          return answer;
        },
      }),
    );
    const lease = await acquired(service, { ttlMs: 900 });
    const extended = lease.extend(15_000);
    await sleep(700);
    gate.open();
    await extended;
    const busy = await others.acquire(name, TTL);
    if (busy.status !== 'busy') throw new Error(busy.status);
    expect(lease.remainingMs()).toBeLessThanOrEqual(busy.retryAfterMs);
    expect(lease.remainingMs()).toBeGreaterThan(10_000);
    await lease.release();
  });

  it.each<[string, Partial<Record<keyof AcquireOptions, unknown>>, string]>([
    ['no life', {}, 'ttlMs is undefined; it must be an integer of at least 1 (milliseconds)'],
    ['a life of nothing', { ttlMs: 0 }, 'ttlMs is 0; it must be an integer of at least 1 (milliseconds)'],
    ['half a millisecond', { ttlMs: 0.5 }, 'ttlMs is 0.5; it must be'],
    ['a text', { ttlMs: '1000' }, 'ttlMs is 1000; it must be'],
    ['a negative wait', { ttlMs: 1, waitMs: -1 }, 'waitMs is -1; it must be an integer of at least 0'],
    ['an endless wait', { ttlMs: 1, waitMs: Infinity }, 'waitMs is Infinity; it must be'],
    ['no number', { ttlMs: 1, maxHoldMs: NaN }, 'maxHoldMs is NaN; it must be'],
  ])('G83 %s is a TypeError that names option and value', async (_case, options, message) => {
    const error: unknown = await locks.acquire(name, options as never).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(TypeError);
    expect((error as Error).message).toContain(message);
    expect(await isFree()).toBe(true);
  });
});

it('G60 an unprotected counter of three processes loses nothing, and fences grow', async () => {
  const url = sharedRedisUrl();
  const client = redisClient(url);
  const counter = `counter:${randomUUID()}`;
  const args = [url, name, counter, '8', '6'];
  const processes = [1, 2, 3].map(() =>
    startProcess(new URL('../support/fixtures/contender.ts', import.meta.url), { args }),
  );
  const exits = await Promise.all(processes.map(({ exited }) => exited));
  expect(exits).toEqual(Array(3).fill({ code: 0, signal: null, stderr: '' }));
  expect(processes.flatMap(({ lines }) => lines)).toEqual(Array(3).fill(['ready', 'done 48']).flat());
  expect(await client.get(counter)).toBe('144');
  const fences = (await client.lrange(`${counter}:fences`, 0, -1)).map(BigInt);
  expect(fences).toHaveLength(144);
  expect(fences.every((fence, i) => i === 0 || fence > fences[i - 1]!)).toBe(true);
});

describe('on a Redis of its own', () => {
  let server: RedisServer;
  let admin: Redis;
  let holder: LockService;

  beforeAll(async () => {
    server = await startRedis();
    admin = redisClient(server.url);
    holder = new LockService(redisDriver(server.url));
    // Connected, scripts known.
    await (await acquired(holder, TTL, 'warm')).release();
  });

  /** Commands the server has executed since the last look, scripts and subscriptions only. */
  async function commands(): Promise<number> {
    const stats = await admin.info('commandstats');
    await admin.config('RESETSTAT');
    const counts = [...stats.matchAll(/cmdstat_(evalsha|eval|subscribe|unsubscribe):calls=(\d+)/g)];
    return counts.reduce((sum, [, , calls]) => sum + Number(calls), 0);
  }

  it('G62 who waits for three seconds costs a handful of commands', async () => {
    const lease = await acquired(holder);
    const waiter = new LockService(redisDriver(server.url));
    await admin.config('RESETSTAT');
    const waiting = waiter.acquire(name, WAITING);
    await sleep(3_000);
    await lease.release();
    expect((await waiting).status).toBe('acquired');
    const count = await commands();
    // acquire, subscribe, acquire, once a second, release, acquire, unsubscribe
    expect(count).toBeGreaterThanOrEqual(5);
    expect(count).toBeLessThanOrEqual(10);
  });

  it('G62 fifty who wait in one process cost what one costs', async () => {
    const lease = await acquired(holder);
    const waiter = new LockService(redisDriver(server.url));
    await admin.config('RESETSTAT');
    const order: number[] = [];
    const served = Array.from({ length: 50 }, (_, i) =>
      waiter.using(name, WAITING, () => void order.push(i)),
    );
    await sleep(1_000);
    expect(await commands()).toBeLessThanOrEqual(6);
    await lease.release();
    await Promise.all(served);
    expect(order).toEqual(Array.from({ length: 50 }, (_, i) => i));
    // One acquire and one release each, and what the first one's waiting costs.
    expect(await commands()).toBeLessThanOrEqual(2 * 50 + 6);
  });

  it('G62 a lost wake-up costs one interval at most, and is not noticed otherwise', async () => {
    const lease = await acquired(holder);
    const waiter = new LockService(redisDriver(server.url));
    const waiting = waiter.acquire(name, WAITING);
    await subscribed(1);
    await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await lease.release();
    const begun = performance.now();
    const result = await waiting;
    expect(result.status).toBe('acquired');
    expect(performance.now() - begun).toBeLessThan(4_000);
    if (result.status === 'acquired') await result.lease.release();
  });

  it('G62 nobody’s wake-up is lost while the connection for them is being made', async () => {
    await using proxy = await startProxy(server.port);
    const driver = redisDriver(proxy.url(server.url));
    await driver.acquire(name, 'somebody', 20_000);
    proxy.delay(15);
    const watching: Promise<unknown>[] = [];
    const woken: Promise<void>[] = [];
    for (let i = 0; i < 40; i++) {
      const lock = `${name}:${i}`;
      await acquired(holder, TTL, lock);
      woken.push(new Promise((wake) => watching.push(driver.watch(lock, wake))));
      await sleep(4);
    }
    await Promise.all(watching);
    proxy.pass();
    await holder.releaseAll();
    await Promise.all(woken);
  });

  /** Waits until that many channels are watched. */
  async function subscribed(count: number): Promise<void> {
    while (((await admin.pubsub('CHANNELS')) as string[]).length < count) await sleep(5);
  }
});

it('G13 a renewal whose answer is on its way does not bring a released lock back', async () => {
  await using proxy = await startProxy(Number(new URL(sharedRedisUrl()).port));
  const client = redisClient(proxy.url(sharedRedisUrl()));
  let renewals = 0;
  const sent = new Gate();
  const locks = new LockService(
    wrapped(redisLock({ client }), {
      extend: (next) => {
        renewals += 1;
        proxy.delay(200);
        sent.open();
        return next();
      },
    }),
  );
  const lease = await acquired(locks, { ttlMs: 900 });
  await sent.wait();
  expect(await lease.release()).toBe('released');
  proxy.pass();
  const other = await acquired(new LockService(redisDriver()), { ttlMs: 20_000, renew: false });
  await sleep(700);
  expect(renewals).toBe(1);
  other.assertHeld();
  expect(await other.release()).toBe('released');
});

describe('G61 a Redis that cannot be asked is unavailable, never busy', () => {
  const quick = { backendTimeoutMs: 250 };

  it('because it is dead; what was held is lost in time, and all is well when it is back', async () => {
    await using server = await startRedis();
    const locks = new LockService(redisDriver(server.url), quick);
    const lease = await acquired(locks, { ttlMs: 500 });
    await server.kill();
    for (const options of [TTL, { ...TTL, waitMs: 5_000 }]) {
      const result = await locks.acquire(`${name}:other`, options);
      expect(result).toEqual({ status: 'unavailable', cause: expect.any(Error) });
    }
    const using = locks.using(`${name}:other`, TTL, () => 'never');
    await expect(using).rejects.toMatchObject({ status: 'unavailable', cause: expect.any(Error) });
    if (!lease.signal.aborted) await once(lease.signal, 'abort');
    await server.restart();
    await eventually(async () => (await locks.acquire(name, TTL)).status === 'acquired');
  });

  it('because it is stopped: within the back-end time-out, and nothing late stays behind', async () => {
    await using server = await startRedis();
    const locks = new LockService(redisDriver(server.url), quick);
    await (await acquired(locks)).release();
    await server.pause();
    const begun = performance.now();
    const results = await Promise.all([
      locks.acquire(`${name}:1`, TTL),
      locks.acquire(`${name}:2`, { ...TTL, waitMs: 5_000 }),
    ]);
    expect(results.map(({ status }) => status)).toEqual(['unavailable', 'unavailable']);
    expect(performance.now() - begun).toBeLessThan(2_000);
    await server.resume();
    const others = new LockService(redisDriver(server.url));
    for (const lock of [`${name}:1`, `${name}:2`]) {
      const lease = await acquired(others, { ...TTL, waitMs: 3_000 }, lock);
      await lease.release();
    }
  });

  it('because it is a replica: READONLY', async () => {
    await using master = await startRedis({ args: ['--repl-diskless-sync-delay', '0'] });
    await using replica = await startRedis({ args: ['--replicaof', '127.0.0.1', String(master.port)] });
    const client = redisClient(replica.url);
    await eventually(async () => (await client.info('replication')).includes('master_link_status:up'));
    const locks = new LockService(redisLock({ client }));
    // On the replica it looks as if somebody else had it; only the master may say so.
    await acquired(new LockService(redisDriver(master.url)));
    await eventually(async () => (await client.keys(`*:lock:${name}`)).length === 1);
    for (const lock of [name, `${name}:free`]) {
      for (const options of [TTL, { ...TTL, waitMs: 200 }]) {
        const result = await locks.acquire(lock, options);
        expect(result.status).toBe('unavailable');
        expect(String((result as { cause: Error }).cause)).toContain('READONLY');
      }
    }
  });

  it('G63 because it is stopped: an abort is heard at once all the same', async () => {
    await using server = await startRedis();
    const locks = new LockService(redisDriver(server.url), { backendTimeoutMs: 20_000 });
    await (await acquired(locks)).release();
    await server.pause();
    const abort = new AbortController();
    const result = locks.acquire(name, { ...WAITING, signal: abort.signal });
    await sleep(50);
    const begun = performance.now();
    abort.abort();
    expect(await result).toEqual({ status: 'aborted' });
    expect(performance.now() - begun).toBeLessThan(5_000);
    await server.resume();
    await (await acquired(new LockService(redisDriver(server.url)), { ...TTL, waitMs: 3_000 })).release();
  });
});

describe('G17 release never throws, never stalls, and hides nothing', () => {
  const backends: [string, (server: RedisServer) => Promise<void>][] = [
    ['dead', (server) => server.kill()],
    ['stopped', (server) => server.pause()],
  ];

  it.each(backends)('when Redis is %s', async (_, breakIt) => {
    await using server = await startRedis();
    const locks = new LockService(redisDriver(server.url), { backendTimeoutMs: 250 });
    const lease = await acquired(locks);
    await breakIt(server);
    const begun = performance.now();
    expect(await lease.release()).toBe('unknown');
    expect(performance.now() - begun).toBeLessThan(2_000);
  });

  it.each(backends)('when Redis is %s by the end of the work', async (_, breakIt) => {
    await using server = await startRedis();
    const locks = new LockService(redisDriver(server.url), { backendTimeoutMs: 250 });
    const paid = locks.using(name, TTL, async () => {
      await breakIt(server);
      return 'paid';
    });
    expect(await paid).toBe('paid');
    await server.resume().catch(() => server.restart());
    const failure = new Error('no money');
    await eventually(async () => (await locks.acquire(`${name}:up`, TTL)).status === 'acquired');
    const failed = locks.using(`${name}:failing`, TTL, async () => {
      await breakIt(server);
      throw failure;
    });
    await expect(failed).rejects.toBe(failure);
  });

  it('extend without an answer throws, and the lock is held for as long as before', async () => {
    await using server = await startRedis();
    const locks = new LockService(redisDriver(server.url), { backendTimeoutMs: 250 });
    const lease = await acquired(locks);
    await server.kill();
    await expect(lease.extend(60_000)).rejects.toThrow(BackendUnavailableError);
    lease.assertHeld();
    expect(lease.remainingMs()).toBeLessThan(20_000);
    expect(lease.signal.aborted).toBe(false);
  });
});

async function eventually(condition: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${condition}`);
    await sleep(20);
  }
}
