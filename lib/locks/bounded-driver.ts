import { BackendUnavailableError, unlessAborted, within } from '../engine/backend.js';
import type { AcquireAnswer, ExtendAnswer, LockDriver, LockRef } from './lock-driver.js';
import type { ReleaseOutcome } from './lock-lease.js';

type Attempt = AcquireAnswer | { readonly cause: unknown };

/** A driver with a limit on every operation; what was asked for in vain is given back. */
export class BoundedDriver {
  private readonly what: string;

  constructor(
    readonly driver: LockDriver,
    readonly timeoutMs: number,
  ) {
    this.what = `Lock ${driver.name}`;
  }

  /** @returns `cause` when the backend could not be asked. */
  acquire(name: string, token: string, ttlMs: number, signal?: AbortSignal): Promise<Attempt | 'aborted'> {
    const giveBack = (answer: Attempt) => {
      if ('acquired' in answer && answer.acquired) void this.release(name, token);
    };
    const asked = within(
      this.timeoutMs,
      this.what,
      () => this.driver.acquire(name, token, ttlMs),
      giveBack,
    ).catch((cause: unknown) => {
      // The request may yet be executed: on an ordered connection the release comes after it.
      void this.release(name, token);
      return { cause };
    });
    return unlessAborted<Attempt>(asked, signal, giveBack);
  }

  /** @throws BackendUnavailableError */
  extend(locks: readonly LockRef[], ttlMs: number): Promise<ExtendAnswer[]> {
    return within(this.timeoutMs, this.what, () => this.driver.extend(locks, ttlMs));
  }

  /** @throws BackendUnavailableError also when the backend answers that it cannot tell. */
  async extendOne(lock: LockRef, ttlMs: number): Promise<boolean> {
    const [mine] = await this.extend([lock], ttlMs);
    if (mine === null) throw new BackendUnavailableError(`${this.what} cannot tell of "${lock.name}"`);
    return mine === true;
  }

  /** Never throws, never takes longer than the limit. */
  async release(name: string, token: string): Promise<ReleaseOutcome> {
    try {
      const released = await within(this.timeoutMs, this.what, () => this.driver.release(name, token));
      return released ? 'released' : 'not-held';
    } catch {
      // What is not released runs out by itself; the caller is told that nobody knows.
      return 'unknown';
    }
  }
}
