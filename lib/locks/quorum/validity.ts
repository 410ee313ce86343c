import type { Instant } from '../../engine/lease.js';

/**
 * Until when a lock that was asked for at `sentAt` is certainly there: the life less the time the clocks may
 * differ by. https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/ leaves that open; 1 % and
 * 2 ms are from its reference implementation, redlock-rb.
 */
export function deadlineOf(sentAt: Instant, ttlMs: number, driftFactor: number): Instant {
  const life = ttlMs - (Math.round(ttlMs * driftFactor) + 2);
  return { mono: sentAt.mono + life, wall: sentAt.wall + life };
}

/** By whichever clock is further on. */
export function isPast(deadline: Instant, now: Instant): boolean {
  return now.mono >= deadline.mono || now.wall >= deadline.wall;
}

export function earlier(a: Instant, b: Instant): Instant {
  return { mono: Math.min(a.mono, b.mono), wall: Math.min(a.wall, b.wall) };
}
