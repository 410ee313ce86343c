import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LockDriver } from '../../locks/lock-driver.js';
import { later, type TestRunner } from '../test-runner.js';

/** Longer than a test, in milliseconds. */
export const LONG_MS = 30_000;

/** What a conformance suite for lock drivers tests. */
export interface LockDriverUnderTest {
  readonly driver: LockDriver;
  /** The same locks by another connection; the same driver where there are no connections. */
  readonly second: LockDriver;
  readonly cleanup: () => Promise<unknown>;
}

interface Watching {
  count: number;
  stop: () => void;
}

/** The driver of a suite, and what its tests do to it all the time. */
export class LockSubject {
  readonly driver: LockDriver;
  readonly second: LockDriver;
  /** The lock of the test that runs. */
  name = '';

  constructor(
    made: () => LockDriverUnderTest,
    readonly queues: boolean,
  ) {
    this.driver = later(() => made().driver);
    this.second = later(() => made().second);
  }

  /** Tests each of which has a lock of its own. */
  named({ it }: TestRunner): TestRunner['it'] {
    return (title, run) =>
      it(title, async () => {
        this.name = `order:${randomUUID()}`;
        await run();
      });
  }

  readonly acquired = async (
    by: LockDriver,
    token: string,
    ttlMs = LONG_MS,
    lock = this.name,
  ): Promise<bigint> => {
    const answer = await by.acquire(lock, token, ttlMs);
    if (!answer.acquired) throw new Error(`busy: ${JSON.stringify(answer)}`);
    return answer.fence;
  };

  readonly isFree = async (lock = this.name): Promise<boolean> => {
    const token = randomUUID();
    const { acquired } = await this.second.acquire(lock, token, LONG_MS);
    if (acquired || this.queues) await this.second.release(lock, token);
    return acquired;
  };

  readonly watching = async (by: LockDriver, token = 'a waiter'): Promise<Watching> => {
    const seen: Watching = { count: 0, stop: () => undefined };
    seen.stop = await by.watch!(this.name, () => seen.count++, token);
    return seen;
  };

  /** Whether a wake-up comes in time. */
  readonly woken = async (what: { count: number }, count: number): Promise<boolean> => {
    for (let waited = 0; waited < 1_000 && what.count < count; waited += 5) await sleep(5);
    return what.count >= count;
  };
}
