import { within } from './backend.js';

/** How long a waiter relies on a wake-up before it looks again by itself, in milliseconds. */
const FALLBACK_MS = 1_000;
/** First and longest pause between two looks where nobody wakes us, in milliseconds. */
const POLL_FROM_MS = 25;
const POLL_TO_MS = 500;

type Watch = ((name: string, wake: () => void) => Promise<() => void>) | undefined;

/**
 * Waits for a release: woken by the backend if it can, looking again at intervals if it cannot. A wake-up
 * that gets lost costs one fallback interval at most.
 */
export class ReleaseWatch {
  private woken = false;
  private wakeWaiter: (() => void) | undefined;
  private unwatch: (() => void) | undefined;
  private pollMs = POLL_FROM_MS;

  private constructor() {}

  /** Resolves when the subscription is in force, or has failed and polling has to do. */
  static async start(name: string, watch: Watch, timeoutMs: number): Promise<ReleaseWatch> {
    const waiter = new ReleaseWatch();
    if (!watch) return waiter;
    try {
      waiter.unwatch = await within(
        timeoutMs,
        'Wake-up subscription',
        () => watch(name, () => waiter.wake()),
        (late) => late(),
      );
    } catch {
      // Waiting goes on without it: a wake-up only saves time.
    }
    return waiter;
  }

  /** Whether the backend wakes us. */
  get wakes(): boolean {
    return this.unwatch !== undefined;
  }

  /** Resolves on a wake-up, on abort, after `ms` milliseconds, or after the interval, whichever is first. */
  async next(ms: number, signal?: AbortSignal): Promise<void> {
    const interval = this.unwatch ? FALLBACK_MS : this.nextPoll();
    if (!this.woken && !signal?.aborted) {
      await new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer);
          signal?.removeEventListener('abort', done);
          resolve();
        };
        const timer = setTimeout(done, Math.max(1, Math.min(ms, interval)));
        signal?.addEventListener('abort', done, { once: true });
        this.wakeWaiter = done;
      });
    }
    this.wakeWaiter = undefined;
    this.woken = false;
  }

  stop(): void {
    this.unwatch?.();
  }

  private wake(): void {
    this.woken = true;
    this.wakeWaiter?.();
  }

  private nextPoll(): number {
    const now = this.pollMs * (0.5 + Math.random());
    this.pollMs = Math.min(this.pollMs * 2, POLL_TO_MS);
    return now;
  }
}
