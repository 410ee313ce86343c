import { setTimeout as sleep } from 'node:timers/promises';
import { LockLostError } from '../../lib/idempotency.errors.js';
import type { AcquireOptions } from '../../lib/locks/lock.service.js';
import { Removals } from '../../lib/locks/zookeeper/removals.js';
import { ConnectionLostError } from '../../lib/zookeeper/protocol.js';
import { Session } from '../../lib/zookeeper/session.js';
import { apart, atEnd, it } from '../support/lanes.js';
import { startProxy } from '../support/proxy.js';
import { startZooKeeper, type ZooKeeperServer } from '../../sample-app/servers/zookeeper.js';
import { killSession } from '../support/zookeeper-sessions.js';
import {
  acquired,
  type Client,
  client,
  leftAt,
  lineAt,
  LONG_MS,
  loss,
  removeFirst,
  SHORT_SESSION_MS,
  through,
  until,
  watchersAt,
} from './zookeeper-helpers.js';

/** What a create of a contender holds, and nothing else that is sent. */
const CREATE = (chunk: Buffer) => chunk.includes('world') && chunk.includes('@');
const DELETE = (chunk: Buffer) => chunk.includes('@') && !chunk.includes('world');

let server: ZooKeeperServer;

beforeAll(async () => {
  server = await startZooKeeper();
});

let count = 0;

/** A lock of its own, a client that goes straight to the server, and one that goes through a proxy. */
async function world() {
  const proxy = await startProxy(server.port);
  const [far, near] = [client(through(proxy)), client(server.url)];
  // Reachable, so that the drivers can end their sessions.
  atEnd(() => proxy.pass());
  return { proxy, far, near, name: `order:${(count += 1)}` };
}

const ignore = () => undefined;

/** With sessions that are there: an attempt on another lock made them. */
async function connected(...clients: Client[]): Promise<void> {
  for (const each of clients) await (await acquired(each, `no order, but ${(count += 1)}`)).release();
}

apart('lost answers', () => {
  it('G67 F1 an attempt whose answer was lost adopts its own node, at once', async () => {
    const { proxy, far, near, name } = await world();
    await connected(far);
    proxy.cutReply({ matching: CREATE });
    const lease = await acquired(far, name);
    expect(proxy.cuts).toBe(1);
    const line = await lineAt(server, name);
    // The first that was made here: none was made in its place.
    expect(line).toMatchObject([{ token: lease.token, sequence: 0 }]);
    expect(await near.locks.acquire(name, { ttlMs: LONG_MS })).toMatchObject({ status: 'busy' });
    const { fence } = lease;
    expect(await lease.release()).toBe('released');
    expect((await acquired(near, name)).fence).toBeGreaterThan(fence);
  });

  it('F3 an attempt that never arrived is made again, and once', async () => {
    const { proxy, far, name } = await world();
    await connected(far);
    proxy.cutRequest({ matching: CREATE });
    const lease = await acquired(far, name);
    expect(proxy.cuts).toBe(1);
    expect(await lineAt(server, name)).toHaveLength(1);
    expect(await lease.release()).toBe('released');
    expect(await lineAt(server, name)).toEqual([]);
  });

  it('F2 a release whose answer was lost is unknown, and frees the lock', async () => {
    const { proxy, far, near, name } = await world();
    const lease = await acquired(far, name);
    const next = acquired(near, name, { waitMs: LONG_MS });
    await until(async () => (await lineAt(server, name)).length === 2);
    proxy.cutReply({ matching: DELETE });
    expect(await lease.release()).toBe('unknown');
    expect((await next).fence).toBeGreaterThan(lease.fence);
  });

  it('F3 a release that never arrived is made in the background', async () => {
    const { proxy, far, near, name } = await world();
    const lease = await acquired(far, name);
    proxy.cutRequest({ matching: DELETE });
    expect(await lease.release()).toBe('unknown');
    await (await acquired(near, name, { waitMs: LONG_MS })).release();
    await until(async () => (await lineAt(server, name)).length === 0);
  });

  it('G67 of an attempt that a session did not survive nothing is adopted', async () => {
    const { proxy, far, name } = await world();
    await connected(far);
    proxy.cutReply({ matching: CREATE, once: false });
    const cut = proxy.nextCut();
    const first = far.lock.acquire(name, 'mine', LONG_MS);
    await cut;
    proxy.drop();
    await until(async () => (await lineAt(server, name)).length === 1);
    const [old] = await lineAt(server, name);
    await killSession(server, old!.session);
    proxy.pass();
    proxy.closeConnections();
    const answer = await first;
    const [fresh, ...others] = await lineAt(server, name);
    expect(others).toEqual([]);
    expect(answer).toMatchObject({ acquired: true });
    expect(fresh).toMatchObject({ token: 'mine' });
    expect(fresh!.session).not.toBe(old!.session);
  });
});

apart('the session', () => {
  it('F17 G12 killed at the server: the lock is lost, once, and the next attempt has a new session', async () => {
    const { far, name } = await world();
    const lease = await acquired(far, name);
    const [before] = await lineAt(server, name);
    const lost = loss(lease);
    await killSession(server, before!.session);
    await lost;
    expect(() => lease.assertHeld()).toThrow(LockLostError);
    expect(lease.signal.reason).toBeInstanceOf(LockLostError);
    const again = await acquired(far, name);
    expect(again.fence).toBeGreaterThan(lease.fence);
    expect(await lease.release()).not.toBe('released');
    expect(() => again.assertHeld()).not.toThrow();
    expect((await lineAt(server, name)).map(({ session }) => session)).not.toContain(before!.session);
  });

  it('F4 G67 in a black hole: lost before the server gives the lock away, which it does', async () => {
    const { proxy, near, name } = await world();
    const hasty = client(through(proxy), { sessionTimeoutMs: SHORT_SESSION_MS });
    const lease = await acquired(hasty, name);
    const lost = loss(lease);
    const next = near.locks.acquire(name, { ttlMs: LONG_MS, waitMs: LONG_MS });
    await until(async () => (await lineAt(server, name)).length === 2);
    proxy.drop();
    let isGone = false;
    const gone = next.then((result) => {
      isGone = true;
      return result;
    });
    await lost;
    expect(isGone).toBe(false);
    expect(() => lease.assertHeld()).toThrow(LockLostError);
    const result = await gone;
    expect(result).toMatchObject({ status: 'acquired' });
    proxy.pass();
    expect(await lease.release()).not.toBe('released');
    expect(await lineAt(server, name)).toHaveLength(1);
  });

  it('suspended is not lost: a short black hole changes nothing', async () => {
    const { proxy, name } = await world();
    const patient = client(through(proxy), { sessionTimeoutMs: 6_000 });
    const lease = await acquired(patient, name);
    const before = await lineAt(server, name);
    proxy.drop();
    await sleep(2_200);
    proxy.pass();
    await (await acquired(patient, `${name}, too`, { waitMs: LONG_MS })).release();
    expect(lease.remainingMs()).toBeGreaterThan(0);
    expect(lease.signal.aborted).toBe(false);
    await lease.extend();
    expect(await lineAt(server, name)).toEqual(before);
    expect(await lease.release()).toBe('released');
  });

  it('F17 a broken connection: the same session goes on, and waiters with it', async () => {
    const { proxy, far, near, name } = await world();
    const lease = await acquired(near, name);
    const waiting = acquired(far, name, { waitMs: LONG_MS });
    await until(async () => (await lineAt(server, name)).length === 2);
    const before = await lineAt(server, name);
    for (let i = 0; i < 3; i++) {
      proxy.closeConnections();
      await until(() => proxy.connections > 0);
      await sleep(50);
    }
    expect(await lineAt(server, name)).toEqual(before);
    await lease.release();
    expect((await waiting).fence).toBeGreaterThan(lease.fence);
  });

  it('F17 expires while its contender waits: it stands in line anew', async () => {
    const { far, near, name } = await world();
    const lease = await acquired(near, name);
    const waiting = acquired(far, name, { waitMs: LONG_MS });
    await until(async () => (await lineAt(server, name)).length === 2);
    const [, waiter] = await lineAt(server, name);
    await killSession(server, waiter!.session);
    await until(async () => {
      const [, another] = await lineAt(server, name);
      return another !== undefined && another.session !== waiter!.session;
    });
    await lease.release();
    expect((await waiting).fence).toBeGreaterThan(lease.fence);
  });

  it('resumed: a node that is gone meanwhile is a lock that is lost', async () => {
    const { proxy, far, name } = await world();
    // Its renewal is far off.
    const lease = await acquired(far, name, { ttlMs: 600_000 });
    const lost = loss(lease);
    proxy.drop();
    await removeFirst(server, name);
    proxy.pass();
    proxy.closeConnections();
    await lost;
    expect(() => lease.assertHeld()).toThrow(LockLostError);
  });

  it('F8 a node that an operator removed is a lock that is lost, when it is prolonged', async () => {
    const { near, name } = await world();
    const lease = await acquired(near, name);
    await removeFirst(server, name);
    await expect(lease.extend()).rejects.toThrow(LockLostError);
    expect(lease.signal.aborted).toBe(true);
    expect(await lease.release()).toBe('not-held');
  });

  it('F9 is believed in by the clock that is further on', async () => {
    const told: boolean[] = [];
    let jumpMs = 0;
    const clock = { mono: () => performance.now(), wall: () => Date.now() + jumpMs };
    const listener = { lost: (isOver: boolean) => told.push(isOver), resumed: ignore, told: ignore };
    const session = new Session([{ host: '127.0.0.1', port: server.port }], 6_000, listener, clock);
    const { id } = (await session.connected(LONG_MS)).ticket;
    jumpMs = -3_600_000;
    expect(session.beliefMs()).toBeLessThanOrEqual(4_000);
    expect(session.beliefMs()).toBeGreaterThan(0);
    jumpMs = 5_000;
    expect(session.beliefMs()).toBeLessThanOrEqual(0);
    // Told by a timer, and believed in again once the leader has answered since.
    await until(() => told.length > 0);
    await until(() => session.beliefMs() > 0);
    expect(told).toEqual([false]);
    expect(session.link!.ticket.id).toBe(id);
    await session.close(1_000);
  });

  it('F10 a grant that is slow to arrive is none, and leaves nobody in line', async () => {
    const { proxy, near, name } = await world();
    const hasty = client(through(proxy), { sessionTimeoutMs: SHORT_SESSION_MS });
    await connected(hasty);
    proxy.delay(SHORT_SESSION_MS);
    expect(await hasty.locks.acquire(name, { ttlMs: LONG_MS })).toMatchObject({ status: 'unavailable' });
    proxy.pass();
    await (await acquired(near, name, { waitMs: LONG_MS })).release();
    expect(await lineAt(server, name)).toEqual([]);
  });
});

apart('the line', () => {
  it('G67 only the one before is watched', async () => {
    const { near, name } = await world();
    const lease = await acquired(near, name);
    const waiting = [client(server.url), client(server.url), client(server.url)];
    const results: Promise<unknown>[] = [];
    for (const [at, waiter] of waiting.entries()) {
      results.push(waiter.locks.using(name, { ttlMs: LONG_MS, waitMs: LONG_MS }, () => undefined));
      await until(async () => (await lineAt(server, name)).length === at + 2);
    }
    await until(async () => (await watchersAt(server, name)).join() === '1,1,1,0');
    await lease.release();
    await Promise.all(results);
    expect(await lineAt(server, name)).toEqual([]);
  });

  it.each<[string, Partial<AcquireOptions>, string]>([
    ['time-out', { waitMs: 200 }, 'timeout'],
    ['not waiting', {}, 'busy'],
    ['abort', { waitMs: LONG_MS }, 'aborted'],
  ])('G67 G18 giving up removes the own node only: %s', async (_, options, status) => {
    const { far, near, name } = await world();
    const lease = await acquired(near, name);
    const signal = status === 'aborted' ? AbortSignal.timeout(200) : undefined;
    const result = await far.locks.acquire(name, { ttlMs: LONG_MS, ...options, signal });
    expect(result.status).toBe(status);
    await until(async () => (await lineAt(server, name)).length === 1);
    expect((await lineAt(server, name))[0]).toMatchObject({ token: lease.token });
  });

  it('G67 what is given up while no server answers is removed as soon as one does', async () => {
    const { proxy, near, name } = await world();
    const patient = client(through(proxy), { sessionTimeoutMs: 20_000 });
    const lease = await acquired(near, name);
    const abort = new AbortController();
    const waiting = patient.locks.acquire(name, { ttlMs: LONG_MS, waitMs: LONG_MS, signal: abort.signal });
    await until(async () => (await lineAt(server, name)).length === 2);
    proxy.drop();
    abort.abort();
    expect((await waiting).status).toBe('aborted');
    expect(await lineAt(server, name)).toHaveLength(2);
    proxy.pass();
    proxy.closeConnections();
    await until(async () => (await lineAt(server, name)).length === 1);
    await lease.release();
  });

  it('G84 what could not be asked for leaves nothing in memory, what was made does until it is gone', async () => {
    const { proxy } = await world();
    const quiet = { lost: ignore, resumed: ignore, told: ignore };
    const session = new Session([{ host: '127.0.0.1', port: proxy.port }], SHORT_SESSION_MS, quiet);
    const removals = new Removals(session);
    const { id } = (await session.connected(SHORT_SESSION_MS)).ticket;
    proxy.drop();
    const removal = { folder: '/nothing', token: 'mine', withFolder: false };
    await expect(removals.add(removal)).rejects.toThrow(ConnectionLostError);
    expect(removals.size).toBe(0);
    await expect(removals.add({ ...removal, node: 'a node', session: id })).rejects.toThrow();
    expect(removals.size).toBe(1);
    proxy.pass();
    await session.connected(LONG_MS);
    removals.resume();
    await until(() => removals.size === 0);
    await session.close(SHORT_SESSION_MS);
  });

  it('F15 what is released while it is prolonged stays released', async () => {
    const { near, name } = await world();
    for (let round = 0; round < 10; round++) {
      await near.lock.acquire(name, 'mine', LONG_MS);
      const extended = near.lock.extend([{ name, token: 'mine' }], LONG_MS);
      expect(await near.lock.release(name, 'mine')).toBe(true);
      await extended;
      expect(await near.lock.extend([{ name, token: 'mine' }], LONG_MS)).toEqual([false]);
      expect(await lineAt(server, name)).toEqual([]);
    }
  });

  it('leaves no node behind', async () => {
    const { far, near, name } = await world();
    const names = [1, 2, 3, 4].map((at) => `${name} ${at}`);
    const contend = (each: Client) =>
      names.map((one) =>
        each.locks.using(one, { ttlMs: LONG_MS, waitMs: LONG_MS }, async () => {
          expect(await leftAt(server, [one])).toEqual([one]);
        }),
      );
    await Promise.all([near, far, client(server.url)].flatMap(contend));
    await until(async () => (await leftAt(server, names)).length === 0);
  });

  it('G85 without a server an attempt is unavailable in time, and nothing goes on', async () => {
    const { name } = await world();
    const lonely = client('127.0.0.1:1');
    const startedAt = performance.now();
    const direct = lonely.lock.acquire(name, 'mine', LONG_MS);
    expect((await lonely.locks.acquire(name, { ttlMs: LONG_MS })).status).toBe('unavailable');
    // Of one second. A second try or release would take another.
    expect(performance.now() - startedAt).toBeLessThan(1_900);
    expect(await lonely.lock.release(name, 'mine')).toBe(false);
    await expect(direct).rejects.toThrow('called off');
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });

  it('G85 a server that accepts and says nothing is passed over', async () => {
    const { proxy, name } = await world();
    proxy.drop();
    // Each begins with one of the two by chance.
    const both = Array.from({ length: 6 }, () => client(`${through(proxy)},${server.url}`));
    await Promise.all(both.map(async (each, at) => (await acquired(each, `${name} ${at}`)).release()));
  });
});

describe('a server that stops', () => {
  it('F5 SIGSTOP: the lock is lost in time, and free again after', async () => {
    const { far, name } = await world();
    const hasty = client(server.url, { sessionTimeoutMs: SHORT_SESSION_MS });
    const lease = await acquired(hasty, name);
    const lost = loss(lease);
    await server.pause();
    try {
      await lost;
      expect(() => lease.assertHeld()).toThrow(LockLostError);
      expect((await hasty.locks.acquire(name, { ttlMs: LONG_MS })).status).toBe('unavailable');
    } finally {
      await server.resume();
    }
    await (await acquired(far, name, { waitMs: LONG_MS })).release();
  });

  it('killed and started again: who held before has lost it or has it still, and fences go on', async () => {
    const { far, near, name } = await world();
    const lease = await acquired(near, name);
    await server.kill();
    await server.restart();
    const wasHeld = lease.remainingMs() > 0;
    const outcome = await lease.release();
    expect(wasHeld && outcome === 'not-held').toBe(false);
    const next = await acquired(far, name, { waitMs: LONG_MS });
    expect(lease.remainingMs()).toBe(0);
    expect(next.fence).toBeGreaterThan(lease.fence);
    await next.release();
  });

  it('G71 closing ends sessions and timers, and what is asked afterwards is unavailable', async () => {
    const { far, near, name } = await world();
    const lease = await acquired(near, name);
    const waiting = far.locks.acquire(name, { ttlMs: LONG_MS, waitMs: LONG_MS });
    await until(async () => (await lineAt(server, name)).length === 2);
    await Promise.all([near.locks.close(), far.locks.close()]);
    expect(lease.signal.aborted).toBe(true);
    expect((await waiting).status).toBe('unavailable');
    expect(await lineAt(server, name)).toEqual([]);
    expect((await near.locks.acquire(name, { ttlMs: LONG_MS })).status).toBe('unavailable');
  });
});
