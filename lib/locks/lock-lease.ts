import { AsyncLocalStorage } from 'node:async_hooks';
import type { Lease } from '../engine/lease.js';
import type { LeaseKeeper } from '../engine/lease-keeper.js';
import { LockLostError } from '../idempotency.errors.js';

export type ReleaseOutcome = 'released' | 'not-held' | 'unknown';

interface LeaseOperations {
  extend(ttlMs: number): Promise<boolean>;
  release(): Promise<ReleaseOutcome>;
}

/**
 * A lock that is held. Disposable: `await using lease = …` releases it at the end of the block.
 */
export class LockLease implements AsyncDisposable {
  private released: Promise<ReleaseOutcome> | undefined;

  /** @internal */
  constructor(
    private readonly lease: Lease,
    private readonly keeper: LeaseKeeper,
    private readonly operations: LeaseOperations,
  ) {}

  /** The lease of the innermost `@Locked` method this runs below; undefined outside of one. */
  static current(): LockLease | undefined {
    return scopes.getStore()?.lease;
  }

  get name(): string {
    return this.lease.name;
  }

  get token(): string {
    return this.lease.token;
  }

  /** Greater than the fence of every holder before. Send it along with writes; let the resource refuse smaller ones. */
  get fence(): bigint {
    return this.lease.fence;
  }

  /** Aborts (with `LockLostError`) before the server gives the lock to somebody else. */
  get signal(): AbortSignal {
    return this.lease.signal;
  }

  /**
   * Aborts (with the cause) when a renewal has failed: the lock is held for `remainingMs()` yet, and tried again
   * until then. Once it is confirmed again this is another signal. Aborts at a loss, too.
   */
  get suspectSignal(): AbortSignal {
    return this.lease.suspectSignal;
  }

  /** Milliseconds this process may still believe to hold the lock; 0 once lost or released. */
  remainingMs(): number {
    return this.released || !this.lease.isHeld() ? 0 : Math.max(0, this.lease.remainingMs());
  }

  /**
   * To be called right before every side effect: it looks at the clocks, while `signal` needs a timer to fire.
   *
   * @throws LockLostError when the lock is not held any more.
   */
  assertHeld(): void {
    if (this.released || !this.lease.isHeld()) throw new LockLostError(this.name);
  }

  /**
   * Prolongs the lock to `ttlMs` from now.
   *
   * @throws LockLostError when the lock is somebody else's or gone.
   * @throws BackendUnavailableError when nobody answered; the lock is then held as long as before (or as
   * was asked for, if that is shorter).
   */
  async extend(ttlMs: number = this.lease.ttlMs): Promise<void> {
    this.assertHeld();
    await this.keeper.extend(this.lease, ttlMs, () => this.operations.extend(ttlMs));
    this.assertHeld();
  }

  /** @internal The release is under way or done. */
  get isReleased(): boolean {
    return this.released !== undefined;
  }

  /** Gives the lock back. Never throws. `unknown`: nobody answered, the lock runs out by itself. */
  release(): Promise<ReleaseOutcome> {
    this.released ??= this.giveBack();
    return this.released;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  private async giveBack(): Promise<ReleaseOutcome> {
    this.keeper.end(this.lease);
    // A renewal under way must not arrive after the release and bring the lock back to life.
    await this.lease.renewal;
    return this.operations.release();
  }
}

/** Locks held around what runs, the innermost first. */
interface Scope {
  readonly lease: LockLease;
  readonly outer: Scope | undefined;
}

const scopes = new AsyncLocalStorage<Scope>();

/** Runs `work` with the lease being its current one. */
export function holding<T>(lease: LockLease, work: () => T): T {
  return scopes.run({ lease, outer: scopes.getStore() }, work);
}

/** Whether what runs is part of work under the lock of that name: it would wait for itself. */
export function isHeldAbove(name: string): boolean {
  for (let scope = scopes.getStore(); scope; scope = scope.outer) {
    if (scope.lease.name === name && scope.lease.remainingMs() > 0) return true;
  }
  return false;
}
