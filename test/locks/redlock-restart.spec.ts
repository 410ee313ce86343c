import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis, RedisOptions } from 'ioredis';
import { LockService } from '../../lib/locks/lock.service.js';
import { type ExcludedNode, redlock, type RedlockOptions } from '../../lib/locks/redis/index.js';
import { apart, atEnd, it } from '../support/lanes.js';
import { startProcess, type TestProcess } from '../support/processes.js';
import { startProxy } from '../support/proxy.js';
import { redisClient } from '../support/redis-client.js';
import { type RedisServer, startRedis } from '../../sample-app/servers/servers.js';
import type { AcquireRequest, ContenderOptions, CountRequest } from './fixtures/redlock-contender.js';
import { until } from './quorum-helpers.js';

const TTL_MS = 3_000;
/** A life, and what the clocks may differ by. */
const QUARANTINE_MS = 3_032;
/** What a server has to be up for, in whole seconds of which one may not be true, to have a vote at once. */
const GROWN_UP_SECONDS = 5;

interface Attempt {
  readonly status: string;
  readonly cause?: string;
  readonly excluded: ExcludedNode[];
}

/** Five servers of its own, up for so long that all of them have a vote, and who wants their lock. */
async function startFive() {
  const servers: RedisServer[] = await Promise.all([1, 2, 3, 4, 5].map(() => startRedis()));
  atEnd(() => Promise.all(servers.map((server) => server.stop())));
  const admins = servers.map(({ url }) => client(url));
  const name = `order:${randomUUID()}`;
  await until(async () =>
    (await Promise.all(admins.map(uptime))).every((seconds) => seconds >= GROWN_UP_SECONDS),
  );

  function client(url: string, options: RedisOptions = {}): Redis {
    const made = redisClient(url, options);
    atEnd(() => made.disconnect());
    return made;
  }

  async function uptime(admin: Redis): Promise<number> {
    return Number(/uptime_in_seconds:(\d+)/.exec(await admin.info('server'))?.[1]);
  }

  function urls(): string[] {
    return servers.map(({ url }) => url);
  }

  async function lockBy(options: Partial<RedlockOptions> = {}, more: RedisOptions = {}, by = urls()) {
    const clients = by.map((url) => client(url, { maxRetriesPerRequest: null, ...more }));
    const lock = redlock({ clients, maxTtlMs: TTL_MS, nodeTimeoutMs: 500, ...options });
    await until(() => clients.every(({ status }) => status === 'ready'));
    return { clients, lock };
  }

  async function contender(options: Partial<ContenderOptions>): Promise<TestProcess> {
    const given: ContenderOptions = { urls: urls(), maxTtlMs: TTL_MS, nodeTimeoutMs: 500, ...options };
    const process = startProcess(new URL('./fixtures/redlock-contender.ts', import.meta.url), {
      args: [JSON.stringify(given)],
    });
    await process.waitForMessage(has('ready'));
    return process;
  }

  async function attempt(process: TestProcess): Promise<Attempt> {
    process.messages.length = 0;
    await process.send({ acquire: name, ttlMs: TTL_MS } satisfies AcquireRequest);
    return (await process.waitForMessage(has('status'))) as Attempt;
  }

  async function holders(of = name): Promise<(string | null)[]> {
    return Promise.all(
      admins.map(async (admin) => {
        const [key] = await admin.keys(`*:lock:${of}`);
        return key === undefined ? null : admin.get(key);
      }),
    );
  }

  /** A holder that has the lock on the first three servers and does not reach the other two, until healed. */
  async function holdOnThree(renew: boolean) {
    const proxies = await Promise.all([3, 4].map((node) => startProxy(servers[node]!.port)));
    const by = urls().map((url, node) => (node < 3 ? url : proxies[node - 3]!.url(url)));
    const { lock, clients } = await lockBy({}, {}, by);
    for (const proxy of proxies) {
      proxy.drop();
      proxy.closeConnections();
    }
    await until(() => clients.slice(3).every(({ status }) => status !== 'ready'));
    const held = await new LockService(lock).acquire(name, { ttlMs: TTL_MS, renew });
    if (held.status !== 'acquired') throw new Error(held.status);
    const { lease } = held;
    await until(async () => (await holders()).filter((holder) => holder === lease.token).length === 3);
    const heal = async () => {
      for (const proxy of proxies) {
        proxy.closeConnections();
        proxy.pass();
      }
      await until(() => clients.every(({ status }) => status === 'ready'));
    };
    return { lock, lease, heal };
  }

  return { servers, admins, name, lockBy, contender, attempt, holders, holdOnThree };
}

apart('servers that are restarted and come back empty', () => {
  it('G66 where it votes at once, the restarted server and those without the lock make a second holder', async () => {
    const { servers, contender, attempt, holdOnThree } = await startFive();
    await using other = await contender({ delayedRestart: false });
    const { lease } = await holdOnThree(false);
    await servers[2]!.restart();
    let result = await attempt(other);
    // Until it has connected to the new server.
    while (result.status === 'busy') result = await attempt(other);
    expect({ status: result.status, isStillHeld: lease.remainingMs() > 0 }).toEqual({
      status: 'acquired',
      isStillHeld: true,
    });
  });

  it('G66 where it has no vote for a life, there is none, and the next extension repairs it', async () => {
    const { servers, contender, attempt, holders, holdOnThree } = await startFive();
    await using other = await contender({});
    const { lease, lock, heal } = await holdOnThree(true);
    await servers[2]!.restart();
    const statuses: string[] = [];
    for (let tries = 0; tries < 20; tries++) {
      statuses.push((await attempt(other)).status);
      await sleep(20);
    }
    expect(statuses).toContain('busy');
    expect(statuses).not.toContain('acquired');
    expect((await attempt(other)).excluded).toEqual([
      { node: 2, reason: 'restarted', forMs: expect.any(Number) },
    ]);
    // The holder lives on two servers and on what is left of its life.
    expect(lease.remainingMs()).toBeGreaterThan(0);
    await heal();
    await until(async () => (await holders()).every((holder) => holder === lease.token));
    const end = performance.now() + QUARANTINE_MS;
    while (performance.now() < end) {
      statuses.push((await attempt(other)).status);
      await sleep(100);
    }
    expect(statuses).not.toContain('acquired');
    expect(lock.excluded).toEqual([]);
    expect(lease.remainingMs()).toBeGreaterThan(0);
    expect(await lease.release()).toBe('released');
    expect(await attempt(other)).toMatchObject({ status: 'acquired' });
  });

  it('a majority that was restarted is no majority for a life, says so, and is one again', async () => {
    const { servers, name, lockBy } = await startFive();
    const { lock, clients } = await lockBy();
    const restarted = [0, 2, 4];
    const begun = performance.now();
    await Promise.all(restarted.map((node) => servers[node]!.restart()));
    await until(() => clients.every(({ status }) => status === 'ready'));
    await until(() => lock.excluded.length === restarted.length);
    await expect(lock.acquire(name, 'mine', TTL_MS)).rejects.toThrow(
      /of 5 nodes answered, 3 have to agree .*no vote for another \d+ ms: it was restarted/,
    );
    expect(lock.excluded.map(({ node, reason }) => [node, reason])).toEqual(
      restarted.map((node) => [node, 'restarted']),
    );
    for (const { forMs } of lock.excluded) {
      // Lives are told in whole seconds.
      expect(forMs + performance.now() - begun).toBeGreaterThan(QUARANTINE_MS - 1_000);
      expect(forMs).toBeLessThanOrEqual(QUARANTINE_MS);
    }
    await until(() => lock.excluded.length === 0);
    expect(performance.now() - begun).toBeGreaterThan(QUARANTINE_MS - 1_000);
    expect(await lock.acquire(name, 'next', TTL_MS)).toMatchObject({ acquired: true });
    // A longer life, and they may have forgotten a lock of that life.
    await expect(lock.acquire(`${name}:long`, 'mine', 60_000)).rejects.toThrow('it was restarted');
  });

  it('a connection that breaks takes no vote away', async () => {
    const { name, lockBy } = await startFive();
    const { lock, clients } = await lockBy();
    for (const client of clients) client.disconnect(true);
    await until(() => clients.every(({ status }) => status !== 'ready'));
    await until(() => clients.every(({ status }) => status === 'ready'));
    expect(await lock.acquire(name, 'mine', TTL_MS)).toMatchObject({ acquired: true });
    expect(lock.excluded).toEqual([]);
  });

  it('a server that refuses INFO has no vote for a life after each connection', async () => {
    const { admins, name, lockBy } = await startFive();
    for (const admin of admins) {
      await admin.call('ACL', 'SETUSER', 'discreet', 'on', '>secret', '~*', '&*', '+@all', '-info');
    }
    const login = { username: 'discreet', password: 'secret', enableReadyCheck: false };
    const { lock, clients } = await lockBy({}, login);
    await expect(lock.acquire(name, 'mine', TTL_MS)).rejects.toThrow(
      'it does not tell whether it was restarted',
    );
    await until(() => lock.excluded.length === 5);
    expect(lock.excluded[0]).toMatchObject({ node: 0, reason: 'refuses INFO' });
    await until(() => lock.excluded.length === 0);
    expect(await lock.acquire(name, 'next', TTL_MS)).toMatchObject({ acquired: true });
    clients[3]!.disconnect(true);
    await until(() => lock.excluded.length === 1);
    expect(lock.excluded[0]).toMatchObject({ node: 3 });
  });

  it('G14 fences grow from holder to holder, whatever server dies and comes back empty', async () => {
    const { servers, name, lockBy } = await startFive();
    const { lock } = await lockBy({ nodeTimeoutMs: 200 });
    const other = await lockBy({ nodeTimeoutMs: 200 });
    const state = { isOver: false };
    const breaking = (async () => {
      for (let restarts = 0; restarts < 3; restarts++) {
        const node = Math.floor(Math.random() * 5);
        await servers[node]!.kill();
        await sleep(Math.random() * 200);
        await servers[node]!.restart();
        await until(() =>
          [lock, other.lock].every(({ excluded }) => excluded.some((each) => each.node === node)),
        );
        await until(() => [lock, other.lock].every(({ excluded }) => excluded.length === 0));
      }
      state.isOver = true;
    })();
    let last = 0n;
    let grants = 0;
    for (; !state.isOver; grants++) {
      const by = grants % 2 ? lock : other.lock;
      const token = randomUUID();
      const answer = await by.acquire(name, token, TTL_MS).catch(() => undefined);
      if (!answer?.acquired) {
        await sleep(5);
        continue;
      }
      expect(answer.fence).toBeGreaterThan(last);
      last = answer.fence;
      await by.release(name, token).catch(() => undefined);
      await sleep(1);
    }
    await breaking;
    expect(grants).toBeGreaterThan(100);
  }, 60_000);

  it('G60 keeps an unprotected counter of three processes right while one server after the other is killed', async () => {
    const { servers, contender } = await startFive();
    const folder = mkdtempSync(join(tmpdir(), 'redlock-'));
    const file = join(folder, 'counter');
    writeFileSync(file, '0');
    try {
      const processes = await Promise.all([1, 2, 3].map(() => contender({ nodeTimeoutMs: 200 })));
      const TIMES = 100;
      const request: CountRequest = { count: file, times: TIMES, ttlMs: TTL_MS, waitMs: 20_000 };
      await Promise.all(processes.map((process) => process.send(request)));
      const state = { isOver: false };
      const breaking = (async () => {
        for (let node = 0; !state.isOver && node < 5; node++) {
          await sleep(200);
          await servers[node]!.kill();
          await sleep(100);
          await servers[node]!.restart();
          // The next one only when this one has a vote again: two of five may be missing, not three.
          if (node % 2 === 1) await sleep(QUARANTINE_MS + 500);
        }
      })();
      const ends = await Promise.all(
        processes.map((process) => process.waitForMessage(has('counted'), 60_000)),
      );
      state.isOver = true;
      await breaking;
      expect(Number(readFileSync(file, 'utf8'))).toBe(3 * TIMES);
      const grants = processes
        .flatMap(({ messages }) => messages as { fence?: string; value?: number }[])
        .filter(({ fence }) => fence !== undefined)
        .toSorted((a, b) => a.value! - b.value!);
      const fences = grants.map(({ fence }) => BigInt(fence!));
      expect(fences).toEqual(fences.toSorted((a, b) => (a < b ? -1 : 1)));
      expect(new Set(fences).size).toBe(3 * TIMES);
      expect(ends).toHaveLength(3);
      await Promise.all(processes.map((process) => process.stop()));
    } finally {
      rmSync(folder, { recursive: true });
    }
  }, 60_000);
});

function has(key: string): (message: unknown) => boolean {
  return (message) => typeof message === 'object' && message !== null && key in message;
}
