import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { type StackCase, STACKS } from '../support/fixtures/grid.js';
import { ANSWER, identityOf, TestNode } from '../support/fixtures/node.js';
import { openStack, type Stack } from '../support/fixtures/stacks.js';
import { counted, Gate, wrapped } from '../support/fixtures/wrapped.js';
import { startProcess } from '../support/processes.js';

const LEASE_MS = 300;

interface Pair {
  readonly stack: Stack;
  /** The same by connections of its own; what is in memory cannot be had a second time. */
  readonly other: Stack;
}

let pairs: Map<string, Pair>;

beforeAll(async () => {
  const open = async ({ name, create }: StackCase) => {
    const urls = await create();
    const stack = await openStack(urls);
    return [name, { stack, other: urls.store === 'memory' ? stack : await openStack(urls) }] as const;
  };
  pairs = new Map(await Promise.all(STACKS.map(open)));
});
afterAll(() =>
  Promise.all([...pairs.values()].flatMap(({ stack, other }) => [stack.close(), other.close()])),
);

/** Tests run several at a time: most of their time is spent waiting for a lease to run out. */
function on(name: string): Pair & { readonly key: string } {
  return { ...pairs.get(name)!, key: randomUUID() };
}

it.concurrent.each(STACKS)(
  'G10 a former owner can neither complete, release, mark nor renew what its successor has: $name',
  async ({ name }) => {
    const { stack, other, key } = on(name);
    const severed = wrapped(stack.store, { renew: () => Promise.reject(new Error('cut off')) });
    const lock = stack.lock && wrapped(stack.lock, { extend: () => Promise.reject(new Error('cut off')) });
    const options = { leaseMs: LEASE_MS };
    const former = [];
    for (const one of [`${key}-1`, `${key}-2`, `${key}-3`]) {
      former.push(await new TestNode({ lock, store: severed, options }).own({ key: one }));
    }
    const successor = new TestNode({ ...other, options: { leaseMs: 20_000, onConflict: 'wait' } });
    const owners = await Promise.all(former.map(({ identity }) => successor.own({ key: identity.key })));
    const records = () => Promise.all(owners.map(({ identity }) => other.store.find(identity.id)));
    const owned = await records();

    expect(await former[0]!.complete(ANSWER)).toMatchObject({ recorded: false, seen: { state: 'running' } });
    await former[1]!.release('forget');
    await former[2]!.markUncertain();
    const renewals = former.map(({ identity }, i) => ({ id: identity.id, token: `not ${owned[i]!.token}` }));
    expect(await stack.store.renew(renewals, 1)).toEqual([false, false, false]);
    const now = await records();
    expect(now).toEqual(owned.map((row) => ({ ...row, leaseRemainingMs: expect.any(Number) })));
    expect(now.every((row) => row!.leaseRemainingMs > 10_000)).toBe(true);
    const third = await other.lock?.acquire(owners[0]!.identity.id, 'third', 1_000);
    expect(third?.acquired ?? false).toBe(false);
    for (const owner of owners) expect(await owner.complete(ANSWER)).toEqual({ recorded: true });
  },
);

it.concurrent.each(STACKS)(
  'G11 is renewed for as long as the handler runs, also when a renewal fails: $name',
  async ({ name }) => {
    const { stack, other, key } = on(name);
    let failures = 0;
    const failing = wrapped(stack.store, {
      renew: async (next) => (failures++ === 0 ? Promise.reject(new Error('once')) : next()),
    });
    const node = new TestNode({ lock: stack.lock, store: failing, options: { leaseMs: 500 } });
    const result = await node.run({ key }, async ({ signal }) => {
      const until = performance.now() + 1_000;
      while (performance.now() < until && !signal.aborted) {
        const rival = new TestNode({ ...other, options: { leaseMs: 500 } });
        await expect(rival.begin({ key })).rejects.toMatchObject({ code: 'in-progress' });
        await sleep(50);
      }
      return signal.aborted ? 'lost' : 'held';
    });
    expect(result).toMatchObject({ value: 'held', replayed: false });
    expect(failures).toBeGreaterThan(3);
  },
);

it.concurrent.each(STACKS)(
  'G16 is not renewed past maxHoldMs: the signal aborts, and another takes over: $name',
  async ({ name }) => {
    const { stack, other, key } = on(name);
    const store = counted(stack.store);
    const node = new TestNode({
      lock: stack.lock,
      store,
      options: { leaseMs: LEASE_MS, maxHoldMs: LEASE_MS },
    });
    const owner = await node.own({ key });
    const begun = performance.now();
    await once(owner.signal, 'abort');
    // A lease after the last renewal, which was within maxHoldMs.
    expect(performance.now() - begun).toBeGreaterThan(LEASE_MS / 2);
    const renewals = store.calls.renew;
    expect(renewals).toBeGreaterThan(0);
    const successor = new TestNode({ ...other, options: { onConflict: 'wait' } });
    expect(await successor.run({ key }, () => 'paid')).toMatchObject({ value: 'paid', attempt: 2 });
    expect(store.calls.renew).toBe(renewals);
    while (node.keeper.size > 0) await sleep(10);
  },
);

it.concurrent.each(STACKS)(
  'G13 a call that ended while it was being renewed is never renewed again: $name',
  async ({ name }) => {
    const { stack, other, key } = on(name);
    const gate = new Gate();
    let renewals = 0;
    const slow = <T>(next: () => Promise<T>): Promise<T> => {
      renewals += 1;
      // The request goes out now, its answer comes late.
      const answer = next();
      return gate.before(() => answer);
    };
    const node = new TestNode({
      lock: stack.lock && wrapped(stack.lock, { extend: (next) => slow(next) }),
      store: wrapped(stack.store, { renew: (next) => slow(next) }),
      options: { leaseMs: 900 },
    });
    const owner = await node.own({ key });
    await gate.reached;
    const completed = owner.complete(ANSWER);
    expect(await completed).toEqual({ recorded: true });
    gate.open();
    const before = renewals;
    await sleep(600);
    expect(renewals).toBe(before);
    expect(node.keeper.size).toBe(0);
    expect(await other.store.find(identityOf({ key }).id)).toMatchObject({ state: 'completed' });
    const { id } = identityOf({ key });
    const next = await other.lock?.acquire(id, 'next', 1_000);
    expect(next?.acquired ?? true).toBe(true);
    await other.lock?.release(id, 'next');
  },
);

it.concurrent.each(STACKS)(
  'G18 a waiter that gives up removes nothing of the owner’s: $name',
  async ({ name }) => {
    const { stack, other, key } = on(name);
    const owner = await new TestNode(stack).own({ key });
    const node = new TestNode({ ...other, options: { onConflict: 'wait', waitTimeoutMs: 120 } });
    const waiters = Array.from({ length: 5 }, () => node.begin({ key }));
    const outcomes = await Promise.allSettled(waiters);
    const refused = { status: 'rejected', reason: expect.objectContaining({ code: 'in-progress' }) };
    expect(outcomes).toEqual(waiters.map(() => refused));
    expect(await other.store.find(identityOf({ key }).id)).toMatchObject({ state: 'running', attempt: 1 });
    expect(owner.isHeld()).toBe(true);
    expect(await owner.complete(ANSWER)).toEqual({ recorded: true });
    expect(await node.begin({ key })).toMatchObject({ kind: 'replay' });
  },
);

it('G11 G84 10 000 leases have one timer, and it keeps no process alive', async () => {
  await using child = startProcess(new URL('../support/fixtures/many-leases.ts', import.meta.url));
  const [, timers, kept] = await child.waitForLine(/^timers (\d+) leases (\d+)$/);
  expect({ timers, kept }).toEqual({ timers: '1', kept: '20000' });
  const [, renewals, largest] = await child.waitForLine(/^renewals (\d+) largest (\d+)$/);
  expect(Number(renewals)).toBeGreaterThanOrEqual(100);
  expect(largest).toBe('100');
  // Its leases live for an hour.
  expect(await child.exited).toEqual({ code: 0, signal: null, stderr: '' });
});
