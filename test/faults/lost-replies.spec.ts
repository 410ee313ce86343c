import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RedisOptions } from 'ioredis';
import { LockService } from '../../lib/locks/lock.service.js';
import { MARIADB, POSTGRES, REDIS, redisUrl } from '../support/fixtures/grid.js';
import { identityOf, TestNode } from '../support/fixtures/node.js';
import { openStack, type Stack, type StackUrls } from '../support/fixtures/stacks.js';
import { type FaultProxy, startProxy } from '../support/proxy.js';

/** A life so long that nobody could have waited for its end. */
const LEASE_MS = 25_000;
/** ioredis sends nothing again; by default it does. */
const ONCE: RedisOptions = { autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0 };

let proxy: FaultProxy;
let key: string;
let stacks: Stack[] = [];

beforeEach(() => {
  key = randomUUID();
});
afterEach(async () => {
  await Promise.all([...stacks.splice(0).map((stack) => stack.close()), proxy.close()]);
});

async function throughProxy(
  urls: StackUrls,
  what: 'lock' | 'store',
  redis?: RedisOptions,
): Promise<TestNode> {
  proxy = await startProxy(Number(new URL(urls[what]).port));
  const proxied = { ...urls, [what]: proxy.url(urls[what]) };
  const stack = await openStack(proxied, redis ? { redis } : {});
  stacks.push(stack);
  const node = new TestNode({ ...stack, options: { leaseMs: LEASE_MS, backendTimeoutMs: 5_000 } });
  // Connected, and its scripts are known.
  const ready = async () => (await node.run({ key: randomUUID() }, () => 'ready')).value;
  expect(await ready()).toBe('ready');
  return node;
}

async function direct(urls: StackUrls): Promise<TestNode> {
  const stack = await openStack(urls);
  stacks.push(stack);
  return new TestNode({ ...stack, options: { leaseMs: LEASE_MS } });
}

describe.each([REDIS, POSTGRES, MARIADB])('store $name', ({ create }) => {
  let node: TestNode;
  let urls: StackUrls;

  beforeEach(async () => {
    urls = { lock: 'none', store: await create() };
    node = await throughProxy(urls, 'store');
  });

  it.each(['cutReply', 'cutRequest'] as const)(
    'G03 a claim whose %s succeeds at once, as the first attempt, and runs once',
    async (cut) => {
      proxy[cut]({ matching: identityOf({ key }).id });
      let runs = 0;
      const result = await node.run({ key }, () => `run ${(runs += 1)}`);
      expect(result).toEqual({ value: 'run 1', replayed: false, attempt: 1 });
      expect(proxy.cuts).toBe(1);
      expect(await (await direct(urls)).run({ key }, () => 'again')).toMatchObject({
        value: 'run 1',
        replayed: true,
      });
      expect(node.warnings).toEqual([]);
    },
  );

  it.each(['cutReply', 'cutRequest'] as const)('a completion whose %s is recorded', async (cut) => {
    const first = await node.run({ key }, () => {
      proxy[cut]();
      return 'paid';
    });
    expect({ ...first, cuts: proxy.cuts }).toEqual({ value: 'paid', replayed: false, attempt: 1, cuts: 1 });
    const again = await (await direct(urls)).run({ key }, () => 'paid again');
    expect(again).toMatchObject({ value: 'paid', replayed: true });
    expect([...node.warnings, ...node.errors]).toEqual([]);
  });

  it.each(['cutReply', 'cutRequest'] as const)('a release whose %s frees the key at once', async (cut) => {
    const failing = node.run({ key }, () => {
      proxy[cut]();
      throw new Error('no money');
    });
    await expect(failing).rejects.toThrow('no money');
    expect(proxy.cuts).toBe(1);
    const again = await (await direct(urls)).run({ key }, () => 'paid');
    expect(again).toMatchObject({ value: 'paid', attempt: 2 });
  });

  it('a renewal whose reply was lost is tried again', async () => {
    const aborted: unknown[] = [];
    const result = await node.run({ key, options: { leaseMs: 1_500 } }, async ({ signal }) => {
      signal.addEventListener('abort', () => aborted.push(signal.reason));
      proxy.cutReply();
      await proxy.nextCut();
      await sleep(1_500);
      return 'paid';
    });
    expect(result.value).toBe('paid');
    expect(aborted).toEqual([]);
  });
});

describe('a Redis lock', () => {
  const urls = async () => ({ lock: redisUrl(), store: await POSTGRES.create() }) as const;

  it.each(['cutReply', 'cutRequest'] as const)(
    'G03 whose acquire had its %s is taken at once',
    async (cut) => {
      const node = await throughProxy(await urls(), 'lock');
      proxy[cut]({ matching: `:lock:${identityOf({ key }).id}` });
      expect(await node.run({ key }, () => 'paid')).toMatchObject({ value: 'paid', attempt: 1 });
      expect(proxy.cuts).toBe(1);
    },
  );

  it('G03 on its own: acquired at once, and by nobody else', async () => {
    const { locks } = await throughProxy(await urls(), 'lock');
    const other = (await direct(await urls())).locks!;
    proxy.cutReply({ matching: key });
    const result = await locks!.acquire(key, { ttlMs: LEASE_MS });
    if (result.status !== 'acquired') throw new Error(result.status);
    expect(await other.acquire(key, { ttlMs: LEASE_MS })).toMatchObject({
      status: 'busy',
      holder: result.lease.token,
    });
    expect(await result.lease.release()).toBe('released');
    expect((await other.acquire(key, { ttlMs: LEASE_MS })).status).toBe('acquired');
  });

  it('a release whose reply was lost has released', async () => {
    const { locks } = await throughProxy(await urls(), 'lock');
    const other = (await direct(await urls())).locks!;
    const result = await locks!.acquire(key, { ttlMs: LEASE_MS });
    if (result.status !== 'acquired') throw new Error(result.status);
    const waiting = other.acquire(key, { ttlMs: LEASE_MS, waitMs: 5_000 });
    proxy.cutReply({ matching: key });
    // Sent again by the client, and then there is nothing to release any more.
    expect(await result.lease.release()).toBe('not-held');
    expect((await waiting).status).toBe('acquired');
  });
});

describe('a Redis client that sends nothing again', () => {
  it.each(['cutReply', 'cutRequest'] as const)(
    'G03 a claim whose %s is refused as unavailable, and the key is free when the client is back',
    async (cut) => {
      const urls = { lock: 'none', store: redisUrl() } as const;
      const node = await throughProxy(urls, 'store', ONCE);
      proxy[cut]({ matching: identityOf({ key }).id });
      let runs = 0;
      const pay = () => node.run({ key }, () => `run ${(runs += 1)}`);
      await expect(pay()).rejects.toMatchObject({ code: 'unavailable' });
      expect(await patiently(pay)).toMatchObject({ value: 'run 1', attempt: 1 });
    },
  );

  it('G03 a lock whose reply was lost is unavailable, and free when the client is back', async () => {
    const urls = { lock: redisUrl(), store: 'memory' } as const;
    const { locks } = await throughProxy(urls, 'lock', ONCE);
    proxy.cutReply({ matching: key });
    expect((await locks!.acquire(key, { ttlMs: LEASE_MS })).status).toBe('unavailable');
    const other = new LockService((await openedLock(urls)).lock!);
    expect((await other.acquire(key, { ttlMs: LEASE_MS, waitMs: 5_000 })).status).toBe('acquired');
  });

  async function openedLock(urls: StackUrls): Promise<Stack> {
    const stack = await openStack(urls);
    stacks.push(stack);
    return stack;
  }
});

/** Asks again while the answer is that the backend is unavailable, or that the first claim is still there. */
async function patiently<T>(attempt: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + 5_000;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      const { code } = error as { code?: string };
      if (!['unavailable', 'in-progress'].includes(code ?? '') || performance.now() > deadline) throw error;
      await sleep(20);
    }
  }
}
