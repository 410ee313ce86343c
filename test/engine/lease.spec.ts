import type { Clock } from '../../lib/engine/clock.js';
import { instant, Lease, type LeaseTerms } from '../../lib/engine/lease.js';

const at = { mono: 1_000, wall: 1_700_000_000_000 };
let now: { mono: number; wall: number };
const clock: Clock = { mono: () => now.mono, wall: () => now.wall };

beforeEach(() => {
  now = { ...at };
});

function pass(ms: number): void {
  now.mono += ms;
  now.wall += ms;
}

function lease(terms: Partial<LeaseTerms> = {}): Lease {
  return new Lease(
    {
      name: 'order:1',
      token: 'token',
      fence: 7n,
      ttlMs: 1_000,
      maxHoldMs: 60_000,
      source: { renew: async (leases) => leases.map(() => true) },
      lostError: (name) => new Error(`lost ${name}`),
      ...terms,
    },
    clock,
    instant(clock),
  );
}

it.each([
  // 1 % of the life and 2 ms less
  [1_000, 988],
  [30_000, 29_698],
  [50, 47],
  [10, 8],
])('G12 a life of %i ms is believed in for %i ms', (ttlMs, believed) => {
  const held = lease({ ttlMs });
  expect(held.remainingMs()).toBe(believed);
  pass(believed - 1);
  expect(held.isHeld()).toBe(true);
  pass(1);
  expect(held.isHeld()).toBe(false);
  expect(held.isLost).toBe(true);
});

it('G12 counts from before the request was sent', () => {
  const sentAt = instant(clock);
  pass(400);
  const held = lease();
  held.prolong(sentAt);
  expect(held.remainingMs()).toBe(588);
});

it('G12 whichever clock is further on says that it is over', () => {
  const held = lease();
  now.wall += 300;
  expect(held.remainingMs()).toBe(688);
  now.wall -= 5_000;
  expect(held.remainingMs()).toBe(988);
  now.mono += 500;
  expect(held.remainingMs()).toBe(488);
  now.wall = at.wall + 988;
  expect(held.remainingMs()).toBe(0);
  expect(held.isHeld()).toBe(false);
  // Lost is lost, whatever the clocks say later.
  now = { ...at };
  expect(held.isHeld()).toBe(false);
});

it('a life shortened by a request nobody answered is believed in no longer than is certain', () => {
  const held = lease();
  held.shorten(instant(clock), 100);
  expect(held.remainingMs()).toBe(97);
  held.shorten(instant(clock), 10_000);
  expect(held.remainingMs()).toBe(97);
});

it('tells of its loss once, by signal and by call; the signal is aborted also for who asks later', () => {
  let losses = 0;
  const early = lease({ onLost: () => losses++ });
  const reasons: unknown[] = [];
  early.signal.addEventListener('abort', () => reasons.push(early.signal.reason));
  early.lose();
  early.lose();
  pass(2_000);
  expect(early.isHeld()).toBe(false);
  expect(losses).toBe(1);
  expect(reasons).toEqual([new Error('lost order:1')]);
  const late = lease();
  late.lose();
  expect(late.signal.aborted).toBe(true);
  expect(late.signal.reason).toEqual(new Error('lost order:1'));
});

it('once it has ended it is never lost', () => {
  let losses = 0;
  const ended = lease({ onLost: () => losses++ });
  ended.end();
  pass(5_000);
  ended.lose();
  expect({ held: ended.isHeld(), lost: ended.isLost, ended: ended.hasEnded }).toEqual({
    held: false,
    lost: false,
    ended: true,
  });
  expect(ended.signal.aborted).toBe(false);
  expect(losses).toBe(0);
});

it('G16 may be renewed until maxHoldMs after the grant', () => {
  const held = lease({ maxHoldMs: 1_500 });
  pass(1_499);
  expect(held.mayRenew()).toBe(true);
  pass(1);
  expect(held.mayRenew()).toBe(false);
  expect(lease({ maxHoldMs: 0 }).mayRenew()).toBe(false);
  expect(lease({ maxHoldMs: 0 }).isRenewable).toBe(false);
});
