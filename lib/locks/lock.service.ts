import { randomUUID } from 'node:crypto';
import { unlessAborted } from '../engine/backend.js';
import { systemClock, type Clock } from '../engine/clock.js';
import { instant, type Instant, Lease, type LeaseSource } from '../engine/lease.js';
import { LeaseKeeper } from '../engine/lease-keeper.js';
import { LockLostError, LockNotAcquiredError } from '../idempotency.errors.js';
import { type AcquireOptions, type AcquireResult, checkAcquireOptions } from './acquire.options.js';
import { BoundedDriver } from './bounded-driver.js';
import { LocalQueue } from './local-queue.js';
import type { AcquireAnswer, LockDriver } from './lock-driver.js';
import { LockLease } from './lock-lease.js';
import { ReleaseWatch } from '../engine/release-watch.js';

export type { AcquireOptions, AcquireResult };

export interface LockServiceOptions {
  /** One operation on the driver, in milliseconds; past it the backend counts as unavailable. @default 2000 */
  readonly backendTimeoutMs?: number;
  readonly keeper?: LeaseKeeper;
  readonly clock?: Clock;
}

const DEFAULT_MAX_HOLD_MS = 600_000;

/**
 * Locks on their own: mutual exclusion over processes, with renewal, loss detection and waiting.
 * Works without Nest: `new LockService(redisLock({ client }))`.
 *
 * A lock is not idempotency: when it is released or runs out, the next one does the work again.
 */
export class LockService {
  private readonly backend: BoundedDriver;
  private readonly keeper: LeaseKeeper;
  private readonly clock: Clock;
  private readonly queue = new LocalQueue();
  private readonly held = new Map<string, LockLease>();
  /** Those somebody works under in `using`. */
  private readonly atWork = new Set<LockLease>();
  private whenIdle: (() => void)[] = [];
  private readonly source: LeaseSource;

  constructor(
    private readonly driver: LockDriver,
    options: LockServiceOptions = {},
  ) {
    this.backend = new BoundedDriver(driver, options.backendTimeoutMs ?? 2_000);
    this.clock = options.clock ?? systemClock;
    this.keeper = options.keeper ?? new LeaseKeeper(this.clock);
    this.source = { renew: (leases, ttlMs) => this.backend.extend(leases, ttlMs) };
  }

  /**
   * Tries to lock `name`, for at most `waitMs`. Callers of one process stand in line, in order; only the
   * first of them asks the backend.
   *
   * @returns a union; it never rejects because somebody else holds the lock or the backend is down.
   * @throws TypeError when an option is not what it should be.
   */
  async acquire(name: string, options: AcquireOptions): Promise<AcquireResult> {
    checkAcquireOptions(options);
    const { waitMs = 0, signal } = options;
    if (signal?.aborted) return { status: 'aborted' };
    const waitUntil = this.clock.mono() + waitMs;
    const entered = this.queue.enter(name, waitMs, signal);
    const turn = typeof entered === 'string' ? entered : await entered;
    if (turn !== 'mine') {
      return turn === 'occupied' ? { status: 'busy', ...this.localHolder(name) } : { status: turn };
    }
    let result: AcquireResult | undefined;
    try {
      result = await this.contend(name, options, waitUntil);
      return result;
    } finally {
      if (result?.status !== 'acquired') this.queue.leave(name);
    }
  }

  /**
   * Does `work` under the lock and gives it the lease. The lock is renewed meanwhile and released after.
   *
   * @returns what `work` returns. An error of `work` is thrown as it is, whatever the release says.
   * @throws LockNotAcquiredError with the status when the lock was not acquired.
   */
  async using<T>(
    name: string,
    options: AcquireOptions,
    work: (lease: LockLease) => Promise<T> | T,
  ): Promise<T> {
    const result = await this.acquire(name, options);
    if (result.status !== 'acquired') {
      throw new LockNotAcquiredError(name, result.status, {
        ...(result.status === 'busy' ? { retryAfterMs: result.retryAfterMs } : {}),
        ...(result.status === 'unavailable' ? { cause: result.cause } : {}),
      });
    }
    const { lease } = result;
    this.atWork.add(lease);
    try {
      return await work(lease);
    } finally {
      await lease.release();
      this.atWork.delete(lease);
      if (this.atWork.size === 0) for (const resolve of this.whenIdle.splice(0)) resolve();
    }
  }

  /**
   * Waits until nobody works under a lock in `using` any more, for at most `ms` milliseconds.
   *
   * @returns how many still do.
   */
  async drain(ms: number): Promise<number> {
    if (this.atWork.size > 0) {
      await new Promise<void>((resolve) => {
        // Not unref'ed: a process that is shutting down has nothing else to wait for.
        const timer = setTimeout(resolve, Math.min(ms, 2 ** 31 - 1));
        this.whenIdle.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    return this.atWork.size;
  }

  /** Releases every lock this service holds, except where `using` is at work: nobody may get that one meanwhile. */
  async releaseAll(): Promise<void> {
    const idle = [...this.held.values()].filter((lease) => !this.atWork.has(lease));
    await Promise.all(idle.map((lease) => lease.release()));
  }

  /** @internal Resolves when the releases that are under way have been answered or given up. */
  async released(): Promise<void> {
    const leases = [...this.held.values()].filter(({ isReleased }) => isReleased);
    await Promise.all(leases.map((lease) => lease.release()));
  }

  /** Ends what the driver itself opened. For shutdown, after all locks were released. */
  async close(): Promise<void> {
    await this.driver.close?.();
  }

  /** @internal For the engine, which waits by its own rules and stands in no backend's line. */
  get watch(): ((name: string, wake: () => void) => Promise<() => void>) | undefined {
    return this.driver.queues ? undefined : this.watchFor('');
  }

  private watchFor(token: string): ((name: string, wake: () => void) => Promise<() => void>) | undefined {
    return this.driver.watch && ((name, wake) => this.driver.watch!(name, wake, token));
  }

  private async contend(name: string, options: AcquireOptions, waitUntil: number): Promise<AcquireResult> {
    const { signal, waitMs = 0 } = options;
    let token = randomUUID();
    let watch: ReleaseWatch | undefined;
    let inLine = this.driver.queues;
    try {
      for (;;) {
        const sentAt = instant(this.clock);
        const answer = await this.backend.acquire(name, token, options.ttlMs, signal);
        if (answer === 'aborted') return { status: 'aborted' };
        if ('cause' in answer) {
          // The attempt has called itself off.
          inLine = false;
          return { status: 'unavailable', cause: answer.cause };
        }
        if (answer.acquired) {
          inLine = false;
          const lease = this.grant(name, token, answer, options, sentAt);
          if (!signal?.aborted) return { status: 'acquired', lease };
          await lease.release();
          return { status: 'aborted' };
        }
        const { retryAfterMs, holder } = answer;
        if (waitMs === 0)
          return { status: 'busy', retryAfterMs, ...(holder === undefined ? {} : { holder }) };
        const left = waitUntil - this.clock.mono();
        if (left <= 0) return { status: 'timeout' };
        // What a late release of this attempt may still do, it does not do to the next.
        if (!this.driver.queues) token = randomUUID();
        if (!watch) {
          // Subscribed first and asked again after: a release in between would wake nobody.
          const starting = ReleaseWatch.start(name, this.watchFor(token), this.backend.timeoutMs);
          const started = await unlessAborted(starting, signal, (late) => late.stop());
          if (started === 'aborted') return { status: 'aborted' };
          watch = started;
          if (watch.wakes) continue;
        }
        await watch.next(Math.min(left, retryAfterMs + 1), signal);
        if (signal?.aborted) return { status: 'aborted' };
      }
    } finally {
      watch?.stop();
      // Everybody behind us in the line waits for us.
      if (inLine) await this.backend.release(name, token);
    }
  }

  private grant(
    name: string,
    token: string,
    { fence, whenLost, beliefMs }: AcquireAnswer & { acquired: true },
    options: AcquireOptions,
    sentAt: Instant,
  ): LockLease {
    const { renew = true, maxHoldMs = DEFAULT_MAX_HOLD_MS } = options;
    // The turn ends with the release or the loss, whichever is first, and only once.
    let hasTurn = true;
    const endTurn = () => {
      if (!hasTurn) return;
      hasTurn = false;
      this.held.delete(name);
      this.queue.leave(name);
    };
    const lease = new Lease(
      {
        name,
        token,
        fence,
        ttlMs: options.ttlMs,
        maxHoldMs: renew ? maxHoldMs : 0,
        source: this.source,
        beliefMs,
        lostError,
        onLost: endTurn,
      },
      this.clock,
      sentAt,
    );
    this.keeper.keep(lease);
    whenLost?.(() => lease.lose());
    const handle = new LockLease(lease, this.keeper, {
      extend: (ttlMs) => this.backend.extendOne({ name, token }, ttlMs),
      release: async () => {
        const outcome = await this.backend.release(name, token);
        endTurn();
        return outcome;
      },
    });
    this.held.set(name, handle);
    return handle;
  }

  private localHolder(name: string): { retryAfterMs: number; holder?: string } {
    const lease = this.held.get(name);
    return lease ? { retryAfterMs: lease.remainingMs(), holder: lease.token } : { retryAfterMs: 0 };
  }
}

function lostError(name: string): LockLostError {
  return new LockLostError(name);
}
