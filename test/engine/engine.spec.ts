import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { memoryLock } from '../../lib/locks/memory.lock.js';
import type { LockDriver } from '../../lib/locks/lock-driver.js';
import { memoryStore } from '../../lib/stores/memory.store.js';
import type { ClaimRequest, ResultStore } from '../../lib/stores/result-store.js';
import { ANSWER, identityOf, TestNode } from '../support/fixtures/node.js';
import { startProcess } from '../support/processes.js';
import { counted, Gate, type Hooks, wrapped } from '../support/fixtures/wrapped.js';

const refused = (code: string) => expect.objectContaining({ code });
const down = () => Promise.reject(new Error('connect ECONNREFUSED'));

let store: ResultStore;
let lock: LockDriver;
let healthy: TestNode;

beforeEach(() => {
  store = memoryStore();
  lock = memoryLock();
  healthy = new TestNode({ store, lock });
});

/** A process whose store or lock is in some trouble. */
function troubled(hooks: Hooks<ResultStore>, options = {}, lockHooks: Hooks<LockDriver> = {}): TestNode {
  return new TestNode({
    store: wrapped(store, hooks),
    lock: wrapped(lock, lockHooks),
    options: { backendTimeoutMs: 100, ...options },
  });
}

const find = (key: string) => store.find(identityOf({ key }).id);

describe('G85 what cannot be asked', () => {
  it.each<[string, Hooks<ResultStore>, Hooks<LockDriver>]>([
    ['the store refuses', { claim: down }, {}],
    ['the store hangs', { claim: () => new Promise(() => undefined) }, {}],
    [
      'the store throws in place of rejecting',
      {
        claim: () => {
          throw new Error('bug');
        },
      },
      {},
    ],
    ['the lock refuses', {}, { acquire: down }],
    ['the lock hangs', {}, { acquire: () => new Promise(() => undefined) }],
    ['the lock is taken and the store hangs', { find: () => new Promise(() => undefined) }, {}],
  ])('%s: unavailable, in time, warned of, and nothing is left behind', async (what, hooks, lockHooks) => {
    const node = troubled(hooks, {}, lockHooks);
    const isTaken = what.includes('is taken');
    const owner = isTaken ? await healthy.own({ key: 'a' }) : undefined;
    const begun = performance.now();
    const refusal = node.begin({ key: 'a' });
    await expect(refusal).rejects.toEqual(refused('unavailable'));
    await expect(refusal).rejects.toMatchObject({ status: 503, retryAfterMs: 1_000 });
    expect(performance.now() - begun).toBeLessThan(1_500);
    expect(node.engine.counters).toMatchObject({ unavailable: 1, claims: 0, unprotected: 0 });
    expect(node.errors).toEqual([]);
    expect(node.warnings).toHaveLength(1);
    expect(node.warnings[0]).toMatch(/^payments \(record [0-9a-f]{12}\) refused: /);
    await owner?.release('forget');
    expect((await healthy.run({ key: 'a' }, () => 'paid')).attempt).toBe(1);
  });

  it('onUnavailable run: unprotected, warned of and counted', async () => {
    const node = troubled({ claim: down }, { onUnavailable: 'run' });
    const { value } = await node.run({ key: 'a' }, ({ isProtected, attempt, fence, signal }) => ({
      isProtected,
      attempt,
      fence,
      aborted: signal.aborted,
    }));
    expect(value).toEqual({ isProtected: false, attempt: 1, fence: 0n, aborted: false });
    expect(node.engine.counters).toMatchObject({ unprotected: 1, unavailable: 0, claims: 0 });
    expect(node.warnings.join()).toContain('runs WITHOUT protection');
    expect(await find('a')).toBeNull();
  });

  it('onUnavailable run does not let duplicates run', async () => {
    const owner = await healthy.own({ key: 'a' });
    const node = troubled({}, { onUnavailable: 'run' });
    await expect(node.begin({ key: 'a' })).rejects.toEqual(refused('in-progress'));
    await owner.complete(ANSWER);
    expect(await node.begin({ key: 'a' })).toMatchObject({ kind: 'replay' });
  });
});

describe('G03 a claim whose answer was lost', () => {
  it('is sent once more with the same token, and is the first attempt', async () => {
    const requests: ClaimRequest[] = [];
    const node = troubled({
      claim: async (next, request) => {
        requests.push(request);
        const answer = await next();
        if (requests.length === 1) throw new Error('read ECONNRESET');
        return answer;
      },
    });
    expect(await node.run({ key: 'a' }, () => 'paid')).toMatchObject({ value: 'paid', attempt: 1 });
    expect(requests).toHaveLength(2);
    expect(requests[1]).toEqual(requests[0]);
    expect(node.warnings).toEqual([]);
  });

  it('twice is given back by its token', async () => {
    const released: unknown[][] = [];
    const node = troubled({
      claim: async (next) => {
        await next();
        throw new Error('read ECONNRESET');
      },
      release: (next, ...args) => {
        released.push(args);
        return next();
      },
    });
    await expect(node.begin({ key: 'a' })).rejects.toEqual(refused('unavailable'));
    expect(released).toEqual([[identityOf({ key: 'a' }).id, expect.any(String), 'forget', 86_400_000]]);
    expect(await find('a')).toBeNull();
  });

  it('comes after the time-out: given back as well, also when it was granted only then', async () => {
    const gate = new Gate();
    const node = troubled({ claim: (next) => gate.before(next) });
    await expect(node.begin({ key: 'a' })).rejects.toEqual(refused('unavailable'));
    expect(await find('a')).toBeNull();
    gate.open();
    await sleep(20);
    expect(await find('a')).toBeNull();
    expect((await healthy.run({ key: 'a' }, () => 'paid')).attempt).toBe(1);
  });

  it('comes after the time-out, when somebody else owns the key: theirs is left alone', async () => {
    const gate = new Gate();
    const node = troubled({
      claim: async (next) => {
        await gate.wait();
        return next();
      },
    });
    await expect(node.begin({ key: 'a' })).rejects.toEqual(refused('unavailable'));
    const owner = await healthy.own({ key: 'a' });
    gate.open();
    await sleep(20);
    expect(await owner.complete(ANSWER)).toEqual({ recorded: true });
  });
});

describe('onOrphan uncertain', () => {
  const cautious = { onOrphan: 'uncertain', leaseMs: 60 } as const;

  async function orphan(key: string): Promise<void> {
    const { id } = identityOf({ key });
    await store.claim({
      ...{ id, scope: 'payments', key, fingerprint: identityOf({ key }).fingerprint },
      ...{ token: 'dead', leaseMs: 1, retentionMs: 60_000, takeOrphan: false },
    });
    await sleep(5);
  }

  it('G51 marks the orphan once, whoever comes first; then all are refused', async () => {
    await orphan('a');
    const nodes = [troubled({}, cautious), troubled({}, cautious)];
    for (let round = 0; round < 3; round++) {
      for (const node of nodes)
        await expect(node.begin({ key: 'a' })).rejects.toEqual(refused('outcome-uncertain'));
    }
    expect(nodes.map(({ engine }) => engine.counters.uncertain)).toEqual([1, 0]);
    await expect(healthy.begin({ key: 'a' })).rejects.toEqual(refused('outcome-uncertain'));
    expect(await find('a')).toMatchObject({ state: 'uncertain', token: 'dead' });
  });

  it('of many at once exactly one marks', async () => {
    await orphan('a');
    const nodes = Array.from({ length: 10 }, () => new TestNode({ store, options: cautious }));
    const answers = await Promise.all(
      nodes.map((node) => node.begin({ key: 'a' }).catch((error: unknown) => error)),
    );
    expect(answers).toEqual(Array(10).fill(refused('outcome-uncertain')));
    expect(nodes.reduce((sum, { engine }) => sum + engine.counters.uncertain, 0)).toBe(1);
  });

  it('looks again when the owner finished between the look and the mark', async () => {
    await orphan('a');
    const node = troubled(
      {
        markUncertain: async (next, id) => {
          await store.complete(id, 'dead', ANSWER, 60_000);
          return next();
        },
      },
      cautious,
    );
    expect(await node.begin({ key: 'a' })).toMatchObject({ kind: 'replay', response: ANSWER });
    expect(node.engine.counters.uncertain).toBe(0);
  });

  it('does not touch a call that is running, nor one that failed and was released', async () => {
    const owner = await healthy.own({ key: 'a' });
    const node = troubled({}, cautious);
    await expect(node.begin({ key: 'a' })).rejects.toEqual(refused('in-progress'));
    await owner.release('keep');
    expect((await node.own({ key: 'a' })).attempt).toBe(2);
  });

  it('G07 another payload is told that, not that the outcome is uncertain', async () => {
    await orphan('a');
    const node = troubled({}, cautious);
    await expect(node.begin({ key: 'a', payload: '6' })).rejects.toEqual(refused('key-reused'));
    await expect(node.begin({ key: 'a' })).rejects.toEqual(refused('outcome-uncertain'));
    await expect(node.begin({ key: 'a', payload: '6' })).rejects.toEqual(refused('key-reused'));
  });
});

describe('settling', () => {
  it('G21 a completion that fails is tried again, and nobody hears of it', async () => {
    let failures = 2;
    const node = troubled(
      { complete: (next) => (failures-- > 0 ? down() : next()) },
      { backendTimeoutMs: 2_000 },
    );
    expect(await node.run({ key: 'a' }, () => 'paid')).toMatchObject({ value: 'paid', replayed: false });
    expect(await healthy.run({ key: 'a' }, () => 'paid again')).toMatchObject({
      value: 'paid',
      replayed: true,
    });
    expect(node.engine.counters).toMatchObject({ unstored: 0, uncertain: 0 });
    expect([...node.warnings, ...node.errors]).toEqual([]);
  });

  it('G21 one that cannot be stored: the caller has its answer, the key is never given away', async () => {
    let isUp = false;
    const node = troubled({
      complete: down,
      markUncertain: (next) => (isUp ? next() : down()),
    });
    expect((await node.run({ key: 'a' }, () => 'paid')).value).toBe('paid');
    expect(node.engine.counters.unstored).toBe(1);
    expect(node.errors.join()).toContain('succeeded, but its answer could not be stored');
    for (const by of [node, healthy]) {
      await expect(by.begin({ key: 'a' })).rejects.toEqual(refused('in-progress'));
    }
    isUp = true;
    for (let code: unknown; code !== 'outcome-uncertain'; await sleep(20)) {
      code = await node.begin({ key: 'a' }).catch((error: { code: string }) => error.code);
      expect(['in-progress', 'outcome-uncertain']).toContain(code);
    }
    expect(node.engine.counters.uncertain).toBe(1);
    expect(node.engine.running).toBe(0);
    expect(await find('a')).toMatchObject({ state: 'uncertain' });
  });

  it('G21 a store that was away for longer takes the answer when it is back: nothing is uncertain', async () => {
    let isUp = false;
    const whenUp = <T>(next: () => Promise<T>) => (isUp ? next() : down());
    const node = troubled({ complete: whenUp, markUncertain: whenUp });
    expect((await node.run({ key: 'a' }, () => 'paid')).value).toBe('paid');
    expect(node.engine.counters.unstored).toBe(1);
    isUp = true;
    const codes = new Set<unknown>();
    for (const by of [node, healthy]) {
      let value: unknown;
      while (value === undefined) {
        ({ value } = await by
          .run({ key: 'a' }, () => 'paid again')
          .catch(({ code }: { code: string }) => sleep(20, { value: codes.add(code) && undefined })));
      }
      expect(value).toBe('paid');
    }
    expect([...codes].filter((code) => code !== 'in-progress')).toEqual([]);
    expect(node.engine.counters).toMatchObject({ uncertain: 0, unstored: 1 });
    expect(node.engine.running).toBe(0);
  });

  it('G17 a release that fails does not hide the error, and is warned of', async () => {
    const node = troubled({ release: down });
    const failure = new Error('no money');
    await expect(node.run({ key: 'a' }, () => Promise.reject(failure))).rejects.toBe(failure);
    expect(node.warnings.join()).toContain('could not be released and runs out by itself');
    expect(node.errors).toEqual([]);
    expect(node.engine.running).toBe(0);
    expect(node.keeper.size).toBe(0);
  });

  it('G17 a lock that cannot be released hides neither result nor error', async () => {
    const node = troubled({}, {}, { release: () => new Promise(() => undefined) });
    expect((await node.run({ key: 'a' }, () => 'paid')).value).toBe('paid');
    await expect(node.run({ key: 'b' }, () => Promise.reject(new Error('no money')))).rejects.toThrow(
      'no money',
    );
    expect(await node.begin({ key: 'a' })).toMatchObject({ kind: 'replay' });
  });

  it('a lock that is lost while the claim is held changes nothing: the claim decides', async () => {
    const node = troubled({}, { leaseMs: 150 }, { extend: async () => [false] });
    const result = await node.run({ key: 'a' }, async ({ signal }) => {
      await sleep(300);
      await expect(healthy.begin({ key: 'a' })).rejects.toEqual(refused('in-progress'));
      return signal.aborted;
    });
    expect(result).toMatchObject({ value: false, attempt: 1 });
  });

  it('G10 an owner that lost its claim gives its lock back, whatever its handler still does', async () => {
    const node = troubled({ renew: async () => [false] }, { leaseMs: 600, onConflict: 'wait' });
    const late = await node.own({ key: 'a' });
    const { id } = identityOf({ key: 'a' });
    expect((await lock.acquire(id, 'other', 1_000)).acquired).toBe(false);
    await once(late.signal, 'abort');
    expect((await lock.acquire(id, 'other', 1_000)).acquired).toBe(true);
    expect(node.keeper.size).toBe(0);
    await late.release('keep');
    expect((await lock.acquire(id, 'another', 1_000)).acquired).toBe(false);
  });

  it('G15 a late owner is told what its successor recorded', async () => {
    const node = troubled({ renew: down }, { leaseMs: 60 }, { extend: down });
    const late = await node.own({ key: 'a' });
    const successor = await healthy.own({ key: 'a', options: { onConflict: 'wait' } });
    expect(await late.complete(ANSWER)).toMatchObject({ recorded: false, seen: { state: 'running' } });
    expect(late.signal.aborted).toBe(true);
    expect(node.engine.counters.lostLeases).toBe(1);
    await successor.complete({ ...ANSWER, status: 202 });
    expect((await find('a'))?.response?.status).toBe(202);
  });
});

describe('G55 drain', () => {
  it('resolves when the last call has settled, also one that began meanwhile', async () => {
    const [first, failing] = [await healthy.own({ key: 'a' }), await healthy.own({ key: 'b' })];
    let isDrained = false;
    const drained = healthy.engine.drain(10_000).then((all) => (isDrained = all));
    const last = await healthy.own({ key: 'c' });
    await first.complete(ANSWER);
    await failing.release('keep');
    await sleep(10);
    expect(isDrained).toBe(false);
    await last.complete(ANSWER);
    expect(await drained).toBe(true);
  });

  it('gives up in time on one that hangs', async () => {
    await healthy.own({ key: 'a' });
    const begun = performance.now();
    expect(await healthy.engine.drain(100)).toBe(false);
    expect(performance.now() - begun).toBeLessThan(2_000);
    expect(healthy.engine.running).toBe(1);
  });

  it('of nothing is done', async () => {
    expect(await healthy.engine.drain(10_000)).toBe(true);
  });
});

it('G02 a claim is one operation, and so is a completion; the lock is asked likewise', async () => {
  const [countedStore, countedLock] = [counted(store), counted(lock)];
  const node = new TestNode({ store: countedStore, lock: countedLock });
  await node.run({ key: 'a' }, () => 'paid');
  // The lock is released without being waited for.
  await sleep(10);
  await node.run({ key: 'a' }, () => 'paid');
  expect(countedStore.calls).toEqual({ claim: 2, complete: 1 });
  expect(countedLock.calls).toEqual({ acquire: 2, release: 2 });
});

it('G84 a running key takes less than 2 kB', async () => {
  await using child = startProcess(new URL('../support/fixtures/in-flight.ts', import.meta.url), {
    execArgv: ['--expose-gc'],
    args: [process.env.TEST_REDIS_URL!],
  });
  const [, bytes, left] = await child.waitForLine(/^(\d+) bytes a key, (-?\d+) left$/);
  expect(Number(bytes)).toBeGreaterThan(100);
  expect(Number(bytes)).toBeLessThan(2_000);
  expect(Number(left)).toBeLessThan(200);
  expect((await child.exited).code).toBe(0);
});
