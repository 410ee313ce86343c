import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LockLease } from '../../lib/locks/lock-lease.js';
import { startProcess } from '../support/processes.js';
import { type FaultProxy, startProxy } from '../support/proxy.js';
import { modeOf, startZooKeeperEnsemble, type ZooKeeperServer } from '../../sample-app/servers/zookeeper.js';
import { acquired, client, lineAt, LONG_MS, loss, through, until } from './zookeeper-helpers.js';

let servers: ZooKeeperServer[];
let proxies: FaultProxy[];
let name: string;
let count = 0;

beforeAll(async () => {
  servers = await startZooKeeperEnsemble();
}, 60_000);
beforeEach(async () => {
  name = `order:${(count += 1)}`;
  proxies = await Promise.all(servers.map(({ port }) => startProxy(port)));
});
afterEach(() => proxies.forEach((proxy) => proxy.pass()));

const everywhere = () => servers.map(({ url }) => url).join(',');

/** The leader, and the others. */
async function roles(): Promise<{ leader: number; followers: [number, number] }> {
  await until(async () => (await Promise.all(servers.map(modeOf))).includes('leader'), 20_000);
  const modes = await Promise.all(servers.map(modeOf));
  const leader = modes.indexOf('leader');
  return { leader, followers: [0, 1, 2].filter((at) => at !== leader) as [number, number] };
}

it('F17 moves to another server with the same session, and the lock is still held', async () => {
  const far = client(through(...proxies), { sessionTimeoutMs: 6_000 });
  const lease = await acquired(far, name);
  const before = await lineAt(servers[0]!, name);
  for (let moves = 0; moves < 2; moves++) {
    const at = proxies.findIndex(({ connections }) => connections > 0);
    const others = proxies.filter((_, other) => other !== at);
    // Accepts connections and says nothing.
    proxies[at]!.drop();
    proxies[at]!.closeConnections();
    await until(() => others.some(({ connections }) => connections > 0));
    await lease.extend();
    proxies[at]!.pass();
  }
  expect(await lineAt(servers[0]!, name)).toEqual(before);
  expect(await lease.release()).toBe('released');
});

it('G12 a follower that lost its leader answers, but is not believed', async () => {
  const { leader, followers } = await roles();
  const far = client(servers[followers[0]]!.url, { sessionTimeoutMs: 2_000 });
  const lease = await acquired(far, name);
  const lost = loss(lease);
  const stoppedAt = performance.now();
  await servers[leader]!.pause();
  try {
    // The follower closes its connections 10 s later.
    expect((await lost) - stoppedAt).toBeLessThan(8_000);
    expect(await modeOf(servers[followers[0]]!)).toBe('follower');
  } finally {
    await servers[leader]!.resume();
  }
  await (await acquired(client(everywhere()), name, { waitMs: LONG_MS })).release();
});

it('G60 G14 the leader is killed: what is held stays held, and fences go on', async () => {
  const { leader, followers } = await roles();
  const patient = client(everywhere(), { sessionTimeoutMs: 15_000 });
  const others = [client(everywhere()), client(servers[followers[0]]!.url)];
  const lease = await acquired(patient, name);
  const waiting = client(servers[followers[1]]!.url, { sessionTimeoutMs: 15_000 });
  await servers[leader]!.kill();
  await roles();
  await until(async () => (await patient.lock.extend([lease], LONG_MS).catch(() => [false]))[0] === true);
  expect(lease.signal.aborted).toBe(false);
  for (const other of others) {
    expect((await other.locks.acquire(name, { ttlMs: LONG_MS, waitMs: 300 })).status).not.toBe('acquired');
  }
  expect(await lease.release()).toBe('released');
  const next = await acquired(waiting, name, { waitMs: LONG_MS });
  // The new leader counts in a new epoch.
  expect(next.fence >> 32n).toBeGreaterThan(lease.fence >> 32n);
  await next.release();
  await servers[leader]!.restart();
}, 60_000);

it('G60 G14 under faults of the network nobody is granted what another believes to hold, and fences rise', async () => {
  const end = performance.now() + 5_000;
  const links = await Promise.all([0, 1, 2, 3].map((at) => startProxy(servers[at % 3]!.port)));
  const believers = new Map<object, LockLease>();
  const violations: string[] = [];
  let lastFence = 0n;
  let grants = 0;
  let losses = 0;
  const contend = async (link: FaultProxy) => {
    const { locks } = client(through(link), { sessionTimeoutMs: 800 });
    while (performance.now() < end) {
      const result = await locks.acquire(name, { ttlMs: 6_000, waitMs: 1_000 });
      if (result.status !== 'acquired') continue;
      const { lease } = result;
      if (lease.remainingMs() > 0) {
        grants++;
        for (const held of believers.values()) {
          if (held.remainingMs() > 0) violations.push(`${lease.fence} is granted while ${held.fence} holds`);
        }
        if (lease.fence <= lastFence) violations.push(`fence ${lease.fence} after ${lastFence}`);
        lastFence = lease.fence;
        believers.set(locks, lease);
        const isCutOff = grants % 3 === 2;
        if (isCutOff) link.drop();
        const holdUntil = performance.now() + (isCutOff ? 2_500 : randomInt(5, 300));
        while (performance.now() < holdUntil && lease.remainingMs() > 0) await sleep(5);
        if (lease.remainingMs() === 0) losses++;
        believers.delete(locks);
        if (isCutOff) link.pass();
      }
      await lease.release();
    }
  };
  /** What is done to one link, until it is healed. */
  const disturb = async (link: FaultProxy) => {
    while (performance.now() < end) {
      await sleep(randomInt(100, 1_500));
      const how = randomInt(5);
      if (how < 2) link.drop();
      else if (how === 2) link.cutReply({ matching: '@' });
      else if (how === 3) link.closeConnections();
      else link.delay(randomInt(5, 300));
      await sleep(randomInt(50, 1_000));
      link.pass();
    }
  };
  const pauseServers = async () => {
    while (performance.now() < end) {
      await sleep(randomInt(1_000, 3_000));
      const server = servers[randomInt(3)]!;
      await server.pause();
      await sleep(randomInt(50, 900));
      await server.resume();
    }
  };
  await Promise.all([pauseServers(), ...links.map(disturb), ...links.map(contend)]);
  expect(violations).toEqual([]);
  expect(grants).toBeGreaterThan(2);
  expect(losses).toBeGreaterThan(0);
}, 60_000);

describe('a process', () => {
  const fixture = new URL('./fixtures/zookeeper-holder.ts', import.meta.url);

  it('G15 F14 computing for longer than its session: it knows the moment it looks', async () => {
    await using holder = startProcess(fixture, { args: [everywhere(), name, '1000', '1500'] });
    await holder.waitForLine(/^held/);
    const next = acquired(client(everywhere()), name, { waitMs: LONG_MS });
    await until(async () => (await lineAt(servers[0]!, name)).length === 2);
    await holder.send('stall');
    const lease = await next;
    await holder.waitForLine(/^believed true then false, told true$/);
    await lease.release();
  });

  it('F6 stopped by SIGSTOP for longer than its session: likewise, with a smaller fence', async () => {
    await using holder = startProcess(fixture, { args: [everywhere(), name, '1000', '200'] });
    const [, fence] = await holder.waitForLine(/^held (\d+)/);
    const next = acquired(client(everywhere()), name, { waitMs: LONG_MS });
    await until(async () => (await lineAt(servers[0]!, name)).length === 2);
    await holder.send('stall');
    await holder.waitForLine(/^stalls/);
    holder.pause();
    const lease = await next;
    expect(lease.fence).toBeGreaterThan(BigInt(fence!));
    holder.resume();
    await holder.waitForLine(/^believed true then false, told true$/);
    await lease.release();
  });

  it('killed: its lock goes to the next one in line, when its session is over', async () => {
    await using holder = startProcess(fixture, { args: [everywhere(), name, '1000', '0'] });
    await holder.waitForLine(/^held/);
    const next = acquired(client(everywhere()), name, { waitMs: LONG_MS });
    await until(async () => (await lineAt(servers[0]!, name)).length === 2);
    await holder.kill();
    await (await next).release();
  });
});
