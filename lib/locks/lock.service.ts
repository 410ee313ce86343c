import { randomUUID } from 'node:crypto';
import { BackendUnavailableError, pause, unlessAborted, within } from '../engine/backend.js';
import { systemClock, type Clock } from '../engine/clock.js';
import { instant, type Instant, Lease, type LeaseSource } from '../engine/lease.js';
import { LeaseKeeper } from '../engine/lease-keeper.js';
import { LockLostError, LockNotAcquiredError } from '../idempotency.errors.js';
import { LocalQueue } from './local-queue.js';
import type { AcquireAnswer, ExtendAnswer, LockDriver } from './lock-driver.js';
import { LockLease } from './lock-lease.js';
import { ReleaseWatch } from '../engine/release-watch.js';

export interface AcquireOptions {
  /** Life of the lock in milliseconds unless renewed. Integer > 0. */
  readonly ttlMs: number;
  /** How long to wait for the holder, in milliseconds. @default 0 */
  readonly waitMs?: number;
  /** Renew at a third of the life until released. @default true */
  readonly renew?: boolean;
  /** No renewal later than this many milliseconds after the grant. @default 10 minutes */
  readonly maxHoldMs?: number;
  /** Gives up waiting when it aborts. */
  readonly signal?: AbortSignal;
}

export type AcquireResult =
  | { readonly status: 'acquired'; readonly lease: LockLease }
  /** `retryAfterMs`: life left of the present lock. `holder`: its token where the driver can tell. */
  | { readonly status: 'busy'; readonly retryAfterMs: number; readonly holder?: string }
  | { readonly status: 'timeout' }
  | { readonly status: 'aborted' }
  | { readonly status: 'unavailable'; readonly cause: unknown };

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
  private readonly backendTimeoutMs: number;
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
    this.backendTimeoutMs = options.backendTimeoutMs ?? 2_000;
    this.clock = options.clock ?? systemClock;
    this.keeper = options.keeper ?? new LeaseKeeper(this.clock);
    this.source = {
      renew: (leases, ttlMs) =>
        within(this.backendTimeoutMs, `Lock ${driver.name}`, () => driver.extend(leases, ttlMs)),
    };
  }

  /**
   * Tries to lock `name`, for at most `waitMs`. Callers of one process stand in line, in order; only the
   * first of them asks the backend.
   *
   * @returns a union; it never rejects because somebody else holds the lock or the backend is down.
   * @throws TypeError when an option is not what it should be.
   */
  async acquire(name: string, options: AcquireOptions): Promise<AcquireResult> {
    const { ttlMs, waitMs = 0, signal } = options;
    checkMilliseconds('ttlMs', ttlMs, 1);
    checkMilliseconds('waitMs', waitMs, 0);
    if (options.maxHoldMs !== undefined) checkMilliseconds('maxHoldMs', options.maxHoldMs, 1);
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
      const idle = new Promise<void>((resolve) => this.whenIdle.push(resolve));
      await Promise.race([idle, pause(ms)]);
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
        const answer = await this.attempt(name, token, options);
        if (answer === 'aborted') return { status: 'aborted' };
        if ('cause' in answer) return { status: 'unavailable', cause: answer.cause };
        if (answer.acquired) {
          inLine = false;
          const lease = this.grant(name, token, answer, options, sentAt);
          if (!signal?.aborted) return { status: 'acquired', lease };
          await lease.release();
          return { status: 'aborted' };
        }
        // What a late release of this attempt may still do, it does not do to the next.
        if (!this.driver.queues) token = randomUUID();
        const { retryAfterMs, holder } = answer;
        if (waitMs === 0)
          return { status: 'busy', retryAfterMs, ...(holder === undefined ? {} : { holder }) };
        const left = waitUntil - this.clock.mono();
        if (left <= 0) return { status: 'timeout' };
        if (!watch) {
          // Subscribed first and asked again after: a release in between would wake nobody.
          const starting = ReleaseWatch.start(name, this.watchFor(token), this.backendTimeoutMs);
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
      if (inLine) await this.tryRelease(name, token);
    }
  }

  private attempt(
    name: string,
    token: string,
    { ttlMs, signal }: AcquireOptions,
  ): Promise<AcquireAnswer | { cause: unknown } | 'aborted'> {
    const giveBack = (answer: AcquireAnswer | { cause: unknown }) => {
      if ('acquired' in answer && answer.acquired) void this.tryRelease(name, token);
    };
    const asked = within(
      this.backendTimeoutMs,
      `Lock ${this.driver.name}`,
      () => this.driver.acquire(name, token, ttlMs),
      giveBack,
    ).catch((cause: unknown) => {
      // The request may yet be executed: on an ordered connection the release comes after it.
      void this.tryRelease(name, token);
      return { cause };
    });
    return unlessAborted<AcquireAnswer | { cause: unknown }>(asked, signal, giveBack);
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
      extend: async (ttlMs) => {
        const [mine] = await this.extendOne(name, token, ttlMs);
        if (mine === null)
          throw new BackendUnavailableError(`Lock ${this.driver.name} cannot tell of "${name}"`);
        return mine === true;
      },
      release: async () => {
        const outcome = await this.tryRelease(name, token);
        endTurn();
        return outcome;
      },
    });
    this.held.set(name, handle);
    return handle;
  }

  private extendOne(name: string, token: string, ttlMs: number): Promise<ExtendAnswer[]> {
    return within(this.backendTimeoutMs, `Lock ${this.driver.name}`, () =>
      this.driver.extend([{ name, token }], ttlMs),
    );
  }

  /** Never throws, never takes longer than the back-end time-out. */
  private async tryRelease(name: string, token: string): Promise<'released' | 'not-held' | 'unknown'> {
    try {
      const released = await within(this.backendTimeoutMs, `Lock ${this.driver.name}`, () =>
        this.driver.release(name, token),
      );
      return released ? 'released' : 'not-held';
    } catch {
      // What is not released runs out by itself; the caller is told that nobody knows.
      return 'unknown';
    }
  }

  private localHolder(name: string): { retryAfterMs: number; holder?: string } {
    const lease = this.held.get(name);
    return lease ? { retryAfterMs: lease.remainingMs(), holder: lease.token } : { retryAfterMs: 0 };
  }
}

function lostError(name: string): LockLostError {
  return new LockLostError(name);
}

function checkMilliseconds(option: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return;
  throw new TypeError(
    `${option} is ${String(value)}; it must be an integer of at least ${least} (milliseconds)`,
  );
}
