import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Clock, systemClock } from '../../lib/engine/clock.js';
import { instant, Lease, type LeaseSource } from '../../lib/engine/lease.js';
import { LeaseKeeper } from '../../lib/engine/lease-keeper.js';
import { Gate } from '../support/fixtures/wrapped.js';

/** Answers true for every lease, and remembers what it was asked. */
class Source implements LeaseSource {
  readonly batches: { readonly names: string[]; readonly ttlMs: number }[] = [];
  answer: (names: string[]) => Promise<(boolean | null)[]> = async (names) => names.map(() => true);

  renew(leases: readonly Lease[], ttlMs: number): Promise<(boolean | null)[]> {
    const names = leases.map(({ name }) => name);
    this.batches.push({ names, ttlMs });
    return this.answer(names);
  }

  get renewals(): number {
    return this.batches.length;
  }
}

let source: Source;
let keeper: LeaseKeeper;
const kept: Lease[] = [];

beforeEach(() => {
  source = new Source();
  keeper = new LeaseKeeper();
});
afterEach(() => {
  for (const lease of kept.splice(0)) keeper.end(lease);
  if (keeper.size > 0) throw new Error(`${keeper.size} leases are still looked after`);
});

interface Terms {
  name?: string;
  maxHoldMs?: number;
  onLost?: () => void;
  clock?: Clock;
  by?: LeaseSource;
}

function keep(
  ttlMs: number,
  { name = 'order:1', maxHoldMs = 600_000, onLost, clock = systemClock, by = source }: Terms = {},
) {
  const lease = new Lease(
    {
      name,
      token: 'token',
      fence: 1n,
      ttlMs,
      maxHoldMs,
      source: by,
      lostError: () => new Error('lost'),
      ...(onLost ? { onLost } : {}),
    },
    clock,
    instant(clock),
  );
  keeper.keep(lease);
  kept.push(lease);
  return lease;
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 5_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${condition}`);
    await sleep(5);
  }
}

describe('G11 when a renewal is due', () => {
  const clock: Clock = { mono: () => 1_000, wall: () => 0 };

  it.each([
    [0, 1_900],
    [0.5, 1_950],
    [1, 2_000],
  ])('at a third of the life, a little earlier by chance: %d', (random, dueAt) => {
    keeper = new LeaseKeeper(clock, () => random);
    expect(keep(3_000, { clock }).dueAt).toBe(dueAt);
  });
});

it('G11 is renewed three times a life, for as long as it is kept', async () => {
  const lease = keep(600);
  await sleep(1_500);
  expect(lease.isHeld()).toBe(true);
  expect(source.renewals).toBeGreaterThanOrEqual(3);
  expect(source.renewals).toBeLessThanOrEqual(9);
  expect(source.batches[0]).toEqual({ names: ['order:1'], ttlMs: 600 });
  keeper.end(lease);
  const { renewals } = source;
  await sleep(300);
  expect(source.renewals).toBe(renewals);
  expect(lease.hasEnded).toBe(true);
});

it('G11 renews in batches of a hundred, apart by source and by life', async () => {
  keeper = new LeaseKeeper(systemClock, () => 0);
  const other = new Source();
  for (let i = 0; i < 250; i++) keep(900, { name: `a${i}` });
  for (let i = 0; i < 5; i++) keep(900, { name: `b${i}`, by: other });
  for (let i = 0; i < 5; i++) keep(600, { name: `c${i}` });
  await until(
    () => new Set([...source.batches, ...other.batches].flatMap(({ names }) => names)).size === 260,
  );
  const sizes = source.batches.map(({ names }) => names.length);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(100);
  expect(source.batches.length).toBeLessThanOrEqual(12);
  for (const { names, ttlMs } of [...source.batches, ...other.batches]) {
    expect(new Set(names.map((name) => name[0]))).toHaveProperty('size', 1);
    expect(ttlMs).toBe(names[0]!.startsWith('c') ? 600 : 900);
  }
  expect(other.batches.flatMap(({ names }) => names)).toEqual(expect.arrayContaining(['b0', 'b4']));
});

it('G11 a renewal that fails is tried again until the deadline, ever so often; then it is lost', async () => {
  let losses = 0;
  source.answer = () => Promise.reject(new Error('away'));
  const lease = keep(600, { onLost: () => losses++ });
  const begun = performance.now();
  await once(lease.signal, 'abort');
  expect(performance.now() - begun).toBeGreaterThan(500);
  expect(losses).toBe(1);
  // About a second of tries at most, a tenth of the life apart.
  expect(source.renewals).toBeGreaterThanOrEqual(3);
  expect(source.renewals).toBeLessThanOrEqual(16);
  const { renewals } = source;
  await sleep(150);
  expect(source.renewals).toBe(renewals);
});

it('G11 a renewal that fails and then succeeds goes on as before', async () => {
  let failures = 2;
  source.answer = async (names) => {
    if (failures-- > 0) throw new Error('away');
    return names.map(() => true);
  };
  const lease = keep(600);
  await sleep(1_000);
  expect(lease.isHeld()).toBe(true);
  expect(failures).toBeLessThan(0);
});

it('G12 a renewal that is never answered: lost at the deadline, without any further request', async () => {
  const gate = new Gate();
  source.answer = async (names) => {
    await gate.wait();
    return names.map(() => true);
  };
  const lease = keep(300);
  await once(lease.signal, 'abort');
  expect(source.renewals).toBe(1);
  // What comes too late changes nothing.
  gate.open();
  await sleep(20);
  expect(lease.isHeld()).toBe(false);
  expect(lease.remainingMs()).toBeLessThanOrEqual(0);
  expect(keeper.size).toBe(0);
});

it('a definite no is a loss at once, of that lease only', async () => {
  source.answer = async (names) => names.map((name) => name !== 'gone');
  const gone = keep(3_000, { name: 'gone' });
  const held = keep(3_000, { name: 'held' });
  await once(gone.signal, 'abort');
  expect(gone.remainingMs()).toBeGreaterThan(0);
  expect(held.isHeld()).toBe(true);
  expect(keeper.size).toBe(1);
});

it('G11 one of a batch of whom nobody can tell is tried again; the others are renewed', async () => {
  source.answer = async (names) => names.map((name) => (name === 'unknown' ? null : true));
  const unknown = keep(600, { name: 'unknown' });
  const known = keep(600, { name: 'known' });
  await once(unknown.signal, 'abort');
  expect(known.isHeld()).toBe(true);
  expect(known.suspectSignal.aborted).toBe(false);
  const batches = source.batches.filter(({ names }) => names.includes('unknown'));
  expect(batches.length).toBeGreaterThanOrEqual(3);
});

it('G11 suspect while renewals fail, not any more when one succeeds; a loss is both', async () => {
  const away = new Error('away');
  source.answer = () => Promise.reject(away);
  const lease = keep(2_000);
  const suspect = lease.suspectSignal;
  await once(suspect, 'abort');
  expect([suspect.reason, lease.isHeld(), lease.signal.aborted]).toEqual([away, true, false]);
  expect(lease.suspectSignal).toBe(suspect);
  source.answer = async (names) => names.map(() => true);
  await until(() => !lease.suspectSignal.aborted);
  expect(lease.isHeld()).toBe(true);
  const fresh = lease.suspectSignal;
  lease.lose();
  expect([fresh.aborted, lease.signal.aborted]).toEqual([true, true]);
  expect(keep(300).suspectSignal.aborted).toBe(false);
});

it('G13 ended while its renewal is under way: what it answers changes nothing', async () => {
  const gate = new Gate();
  source.answer = async (names) => {
    await gate.wait();
    return names.map(() => false);
  };
  let losses = 0;
  const lease = keep(300, { onLost: () => losses++ });
  await gate.reached;
  keeper.end(lease);
  gate.open();
  await lease.renewal;
  await sleep(200);
  expect({ losses, renewals: source.renewals, size: keeper.size }).toEqual({
    losses: 0,
    renewals: 1,
    size: 0,
  });
});

it('G16 past maxHoldMs it is watched, not renewed, and then lost', async () => {
  let lastAt = 0;
  source.answer = async (names) => {
    lastAt = performance.now();
    return names.map(() => true);
  };
  const begun = performance.now();
  const lease = keep(300, { maxHoldMs: 350 });
  await once(lease.signal, 'abort');
  expect(source.renewals).toBeGreaterThan(0);
  expect(lastAt - begun).toBeLessThan(370);
  expect(performance.now() - lastAt).toBeGreaterThan(250);
  expect(keeper.size).toBe(0);
});

it('one that is not renewable is lost at its deadline, without a request', async () => {
  const leases = [keep(150, { maxHoldMs: 0 }), keep(250, { maxHoldMs: 0 })];
  await Promise.all(leases.map(({ signal }) => once(signal, 'abort')));
  expect(source.renewals).toBe(0);
  expect(keeper.size).toBe(0);
});

it('lives beyond the longest timer are kept without a storm of timers', async () => {
  const centuryMs = 100 * 365 * 86_400_000;
  const lease = keep(centuryMs);
  const unrenewed = keep(centuryMs, { maxHoldMs: 0 });
  await sleep(50);
  expect(source.renewals).toBe(0);
  expect(lease.isHeld() && unrenewed.isHeld()).toBe(true);
});

it('a stalled event loop: late renewals of what is still valid, loss of what is not', async () => {
  const long = keep(3_000, { name: 'long' });
  const short = keep(300, { name: 'short' });
  const until = performance.now() + 1_300;
  while (performance.now() < until);
  expect(short.isHeld()).toBe(false);
  await sleep(50);
  expect(source.batches.flatMap(({ names }) => names)).toEqual(['long']);
  expect(long.isHeld()).toBe(true);
});

describe('an extension by the owner', () => {
  it('sets another life, in which it is renewed from then on', async () => {
    const lease = keep(60_000);
    await keeper.extend(lease, 300, async () => true);
    expect(lease.remainingMs()).toBeLessThanOrEqual(295);
    await until(() => source.renewals >= 2);
    expect(source.batches[0]).toEqual({ names: ['order:1'], ttlMs: 300 });
    expect(lease.isHeld()).toBe(true);
  });

  it('is crossed by no renewal', async () => {
    const lease = keep(1_200);
    const gate = new Gate();
    const extended = keeper.extend(lease, 60_000, () => gate.before(() => true));
    await sleep(500);
    expect(source.renewals).toBe(0);
    gate.open();
    await extended;
    expect(lease.remainingMs()).toBeGreaterThan(50_000);
  });

  it('waits for the renewal under way, and for another extension', async () => {
    const renewing = new Gate();
    source.answer = async (names) => {
      await renewing.wait();
      return names.map(() => true);
    };
    const lease = keep(900);
    await renewing.reached;
    const order: string[] = [];
    const extensions = ['first', 'second'].map((which) =>
      keeper.extend(lease, 60_000, async () => {
        order.push(which);
        return true;
      }),
    );
    await sleep(20);
    expect(order).toEqual([]);
    renewing.open();
    await Promise.all(extensions);
    expect(order).toEqual(['first', 'second']);
  });

  it('that is not answered leaves the shorter of both lives; the lease is lost in time all the same', async () => {
    const lease = keep(60_000, { maxHoldMs: 0 });
    const failure = new Error('away');
    await expect(keeper.extend(lease, 300, () => Promise.reject(failure))).rejects.toBe(failure);
    expect(lease.remainingMs()).toBeLessThanOrEqual(295);
    await once(lease.signal, 'abort');
    const longer = keep(300, { maxHoldMs: 0 });
    await expect(keeper.extend(longer, 60_000, () => Promise.reject(failure))).rejects.toBe(failure);
    await once(longer.signal, 'abort');
  });

  it('of a lease that is lost or has ended asks nobody', async () => {
    const lost = keep(300);
    lost.lose();
    const ended = keep(300);
    keeper.end(ended);
    let asked = 0;
    for (const lease of [lost, ended]) await keeper.extend(lease, 1_000, async () => ++asked > 0);
    expect(asked).toBe(0);
    keeper.end(lost);
  });

  it('during which the lease runs out does not bring it back', async () => {
    const lease = keep(200);
    const gate = new Gate();
    const extended = keeper.extend(lease, 60_000, () => gate.before(() => true));
    await once(lease.signal, 'abort');
    gate.open();
    await extended;
    expect(lease.isHeld()).toBe(false);
    expect(keeper.size).toBe(0);
  });
});
