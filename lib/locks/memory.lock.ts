import { systemClock, type Clock } from '../engine/clock.js';
import { checkLockDelay, type LockDelayOptions } from './lock-delay.js';
import { type AcquireAnswer, FENCE_LEAD_MS, LockDriver, type LockRef } from './lock-driver.js';

interface Holding {
  readonly token: string;
  readonly fence: bigint;
  until: number;
}

/**
 * Locks inside one process. For development, tests, and apps that run as one process only.
 * What ran out is removed when it is asked for, and in passing while others are.
 */
export class MemoryLock extends LockDriver {
  readonly name = 'memory';
  private readonly holdings = new Map<string, Holding>();
  private readonly watchers = new Map<string, Set<() => void>>();
  private cursor = this.holdings.entries();
  private lastFence = 0n;

  constructor(
    private readonly clock: Clock = systemClock,
    private readonly lockDelayMs = 0,
  ) {
    super();
  }

  async acquire(name: string, token: string, ttlMs: number, leastFence = 0n): Promise<AcquireAnswer> {
    const now = this.clock.mono();
    const held = this.holdings.get(name);
    const freeAt = held ? held.until + this.lockDelayMs : now;
    if (held && freeAt > now && held.token !== token) {
      return { acquired: false, retryAfterMs: freeAt - now, holder: held.token };
    }
    this.dropExpired(now);
    const fence = held?.token === token && held.until > now ? held.fence : this.nextFence(leastFence);
    this.holdings.set(name, { token, fence, until: now + ttlMs });
    return { acquired: true, fence };
  }

  async extend(locks: readonly LockRef[], ttlMs: number): Promise<boolean[]> {
    const now = this.clock.mono();
    return locks.map(({ name, token }) => {
      const held = this.holdings.get(name);
      if (held?.token !== token || held.until <= now) return false;
      held.until = now + ttlMs;
      return true;
    });
  }

  async release(name: string, token: string): Promise<boolean> {
    const held = this.holdings.get(name);
    if (held?.token !== token || held.until <= this.clock.mono()) return false;
    this.holdings.delete(name);
    for (const wake of this.watchers.get(name) ?? []) wake();
    return true;
  }

  override async raiseFence(_name: string, fence: bigint): Promise<void> {
    if (fence > this.lastFence) this.lastFence = fence;
  }

  override async watch(name: string, wake: () => void): Promise<() => void> {
    const watchers = this.watchers.get(name) ?? new Set();
    this.watchers.set(name, watchers.add(wake));
    return () => {
      watchers.delete(wake);
      if (watchers.size === 0 && this.watchers.get(name) === watchers) this.watchers.delete(name);
    };
  }

  /** Microseconds of the wall clock, or one more than the last: grows also over a restart of the process. */
  private nextFence(leastFence: bigint): bigint {
    const now = BigInt(this.clock.wall()) * 1000n;
    this.lastFence = now > this.lastFence ? now : this.lastFence + 1n;
    const isNear = leastFence <= now + BigInt(FENCE_LEAD_MS) * 1000n;
    if (leastFence > this.lastFence && isNear) this.lastFence = leastFence;
    return this.lastFence;
  }

  /** Looks at two of the map on every grant, in turn: what was left behind goes in time, at no cost. */
  private dropExpired(now: number): void {
    for (let looked = 0; looked < 2; looked++) {
      const { done, value } = this.cursor.next();
      if (done) this.cursor = this.holdings.entries();
      else if (value[1].until + this.lockDelayMs <= now) this.holdings.delete(value[0]);
    }
  }
}

/**
 * Locks inside this process only.
 *
 * @throws TypeError when an option is not what it should be.
 */
export function memoryLock(options: LockDelayOptions = {}): MemoryLock {
  return new MemoryLock(systemClock, checkLockDelay(options));
}
