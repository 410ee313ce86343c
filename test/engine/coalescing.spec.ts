import { setTimeout as sleep } from 'node:timers/promises';
import { memoryLock } from '../../lib/locks/memory.lock.js';
import type { LockDriver } from '../../lib/locks/lock-driver.js';
import { memoryStore } from '../../lib/stores/memory.store.js';
import type { ResultStore } from '../../lib/stores/result-store.js';
import { ANSWER, TestNode } from '../support/fixtures/node.js';
import { counted, Gate, wrapped } from '../support/fixtures/wrapped.js';

const WAIT = { onConflict: 'wait' } as const;
const code = (error: unknown) => (error as { code?: string }).code;

let store: ReturnType<typeof counted<ResultStore>>;
let lock: ReturnType<typeof counted<LockDriver>>;
/** Two processes on one store and lock. */
let node: TestNode;
let other: TestNode;

beforeEach(() => {
  store = counted<ResultStore>(memoryStore());
  lock = counted<LockDriver>(memoryLock());
  node = new TestNode({ store, lock });
  other = new TestNode({ store, lock });
});

const times = <T>(count: number, make: (i: number) => T) => Array.from({ length: count }, (_, i) => make(i));
/** Error codes of calls that are all refused. */
const refusals = (calls: Promise<unknown>[]) =>
  Promise.all(calls.map((call) => call.then(() => 'not refused', code)));

it('G01 duplicates of a running call cost no round trip', async () => {
  const owner = await node.own({ key: 'a' });
  const asked = { ...store.calls, ...lock.calls };
  expect(asked).toEqual({ claim: 1, acquire: 1 });
  expect(await refusals(times(50, () => node.begin({ key: 'a' })))).toEqual(Array(50).fill('in-progress'));
  expect({ ...store.calls, ...lock.calls }).toEqual(asked);
  expect(node.engine.counters).toMatchObject({ claims: 1, conflicts: 50 });
  await owner.complete(ANSWER);
});

it('G07 another payload meanwhile is refused without a round trip, and learns nothing', async () => {
  const owner = await node.own({ key: 'a', payload: '5' });
  const asked = { ...store.calls };
  for (const options of [{}, WAIT]) {
    const error: unknown = await node.begin({ key: 'a', payload: '6', options }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: 'key-reused', status: 422, retryAfterMs: undefined });
  }
  expect(store.calls).toEqual(asked);
  expect(node.engine.counters).toMatchObject({ mismatches: 2, conflicts: 0 });
  await owner.complete(ANSWER);
});

it('waiting duplicates are answered from memory', async () => {
  const gate = new Gate();
  const first = node.run({ key: 'a' }, () => gate.before(() => ({ paid: 500 })));
  await gate.reached;
  const waiting = times(50, () => node.run({ key: 'a', options: WAIT }, () => 'paid again'));
  gate.open();
  expect(await first).toEqual({ value: { paid: 500 }, replayed: false, attempt: 1 });
  expect(await Promise.all(waiting)).toEqual(
    Array(50).fill({ value: { paid: 500 }, replayed: true, attempt: 1 }),
  );
  expect({ ...store.calls, ...lock.calls }).toEqual({ claim: 1, complete: 1, acquire: 1, release: 1 });
  expect(node.engine.counters).toMatchObject({ claims: 1, replays: 50 });
});

it.each([{}, WAIT])('calls that come while the claim is under way meet at it: %o', async (options) => {
  const gate = new Gate();
  const slow = new TestNode({
    lock,
    store: wrapped<ResultStore>(store, { claim: (next) => gate.before(next) }),
  });
  const calls = times(20, () => slow.begin({ key: 'a', options }));
  await gate.reached;
  gate.open();
  const first = await calls[0]!;
  if (first.kind !== 'run') throw new Error(first.kind);
  const others = calls.slice(1).map((call) => call.then(({ kind }) => kind, code));
  const early = options === WAIT ? [] : await Promise.all(others);
  await first.ownership.complete(ANSWER);
  expect(early).toEqual(options === WAIT ? [] : Array(19).fill('in-progress'));
  expect(await Promise.all(others)).toEqual(Array(19).fill(options === WAIT ? 'replay' : 'in-progress'));
  expect({ ...store.calls, ...lock.calls }).toEqual({ claim: 1, complete: 1, acquire: 1, release: 1 });
});

it('G85 a claim that fails fails for all who met at it, by one request and its repetition', async () => {
  const gate = new Gate();
  const broken = new TestNode({
    lock,
    store: wrapped<ResultStore>(store, {
      claim: async (next) => {
        await gate.wait();
        await next();
        throw new Error('cut');
      },
    }),
  });
  const calls = times(10, () => broken.begin({ key: 'a' }));
  await gate.reached;
  gate.open();
  expect(await refusals(calls)).toEqual(Array(10).fill('unavailable'));
  expect(store.calls.claim).toBe(2);
  // The claim nobody heard of was given back.
  expect(await other.run({ key: 'a' }, () => 'paid')).toMatchObject({ value: 'paid', attempt: 1 });
});

it('when the owner fails, one of those who wait runs, the others wait for it', async () => {
  const gate = new Gate();
  const first = node.run({ key: 'a' }, () =>
    gate.before(() => {
      throw new Error('no money');
    }),
  );
  await gate.reached;
  let runs = 0;
  const work = async () => {
    runs += 1;
    await sleep(10);
    return 'paid';
  };
  const waiting = times(20, () => node.run({ key: 'a', options: WAIT }, work));
  gate.open();
  await expect(first).rejects.toThrow('no money');
  const results = await Promise.all(waiting);
  expect(runs).toBe(1);
  expect(results.map(({ value, attempt }) => ({ value, attempt }))).toEqual(
    Array(20).fill({ value: 'paid', attempt: 2 }),
  );
  expect(store.calls).toMatchObject({ claim: 2, release: 1, complete: 1 });
});

it('who waits for another process waits together, and is woken', async () => {
  const latencies: number[] = [];
  for (const key of ['a', 'b', 'c']) {
    const owner = await other.own({ key });
    const asked = lock.calls.acquire!;
    const waiting = times(20, () => node.begin({ key, options: WAIT }));
    await sleep(100);
    // One contender: asks, subscribes, asks again.
    expect(lock.calls.acquire! - asked).toBe(2);
    await owner.complete(ANSWER);
    const begun = performance.now();
    for (const answer of await Promise.all(waiting)) {
      expect(answer).toMatchObject({ kind: 'replay', response: ANSWER });
    }
    latencies.push(performance.now() - begun);
  }
  // It would look again after a second.
  expect(Math.min(...latencies)).toBeLessThan(600);
});

it('each waits its own time: the first to give up does not give up for the others', async () => {
  const owner = await other.own({ key: 'a' });
  const options = { onConflict: 'wait', waitTimeoutMs: 300 } as const;
  const first = node.begin({ key: 'a', options });
  await sleep(200);
  const second = node.begin({ key: 'a', options });
  expect(await refusals([first])).toEqual(['in-progress']);
  await owner.complete(ANSWER);
  expect(await second).toMatchObject({ kind: 'replay' });
});

it('who does not want to wait is refused at once, whoever waits in its process', async () => {
  const owner = await other.own({ key: 'a' });
  const waiting = node.begin({ key: 'a', options: WAIT });
  await sleep(50);
  const begun = performance.now();
  expect(await refusals([node.begin({ key: 'a' })])).toEqual(['in-progress']);
  expect(performance.now() - begun).toBeLessThan(1_000);
  await owner.complete(ANSWER);
  expect(await waiting).toMatchObject({ kind: 'replay' });
});

it('who wants to wait does so, also when it met one that does not', async () => {
  const owner = await other.own({ key: 'a' });
  const gate = new Gate();
  const slow = new TestNode({
    lock,
    store: wrapped<ResultStore>(store, { find: (next) => gate.before(next) }),
  });
  const rejecting = slow.begin({ key: 'a' });
  await gate.reached;
  const waiting = times(3, () => slow.begin({ key: 'a', options: WAIT }));
  gate.open();
  expect(await refusals([rejecting])).toEqual(['in-progress']);
  await owner.complete(ANSWER);
  expect(await Promise.all(waiting)).toEqual(Array(3).fill(expect.objectContaining({ kind: 'replay' })));
});

it('a lease that is over while its lock is still taken is looked at now and then, not all the time', async () => {
  const owner = new TestNode({
    lock: wrapped<LockDriver>(lock, {
      acquire: (_next, name, token) => lock.acquire(name, token, 20_000),
      extend: async (_next, locks) => locks.map(() => true),
      release: () => Promise.reject(new Error('cut off')),
    }),
    store: wrapped<ResultStore>(store, { renew: () => Promise.reject(new Error('cut off')) }),
    options: { leaseMs: 300 },
  });
  const late = await owner.own({ key: 'a' });
  const options = { onConflict: 'wait', waitTimeoutMs: 1_000 } as const;
  expect(await refusals([node.begin({ key: 'a', options })])).toEqual(['in-progress']);
  expect(store.calls.find).toBeLessThan(30);
  await late.release('keep');
});

it('another payload does not wait for those who wait in its process', async () => {
  const owner = await other.own({ key: 'a' });
  const waiting = node.begin({ key: 'a', options: WAIT });
  await sleep(50);
  expect(await refusals([node.begin({ key: 'a', payload: '6', options: WAIT })])).toEqual(['key-reused']);
  await owner.complete(ANSWER);
  expect(await waiting).toMatchObject({ kind: 'replay' });
});

it('an owner that lost its lease is not what its duplicates are answered by', async () => {
  const cutOff = new TestNode({
    store: wrapped<ResultStore>(store, { renew: () => Promise.reject(new Error('cut off')) }),
    options: { leaseMs: 100 },
  });
  const late = await cutOff.own({ key: 'a' });
  const successor = await other.own({ key: 'a', options: WAIT });
  expect(late.isHeld()).toBe(false);
  await successor.complete(ANSWER);
  expect(await cutOff.begin({ key: 'a' })).toMatchObject({ kind: 'replay', attempt: 2 });
  expect(await late.complete(ANSWER)).toMatchObject({ recorded: false, seen: { attempt: 2 } });
});

it('keeps nothing of calls that are over', async () => {
  await Promise.all(times(100, (i) => node.run({ key: `key ${i % 10}`, options: WAIT }, () => i)));
  await refusals([node.run({ key: 'failing' }, () => Promise.reject(new Error('no money')))]);
  expect(node.engine.running).toBe(0);
  expect(Reflect.get(node.engine, 'slots')).toHaveProperty('size', 0);
  // Locks are released without being waited for.
  await sleep(10);
  expect(node.keeper.size).toBe(0);
  expect([...node.warnings, ...node.errors]).toEqual([]);
});
