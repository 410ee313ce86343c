import { setTimeout as sleep } from 'node:timers/promises';
import type { LockDriver } from '../../lib/locks/lock-driver.js';

/**
 * The same driver, whose attempts are made again when no majority was in time. The suite has locks that live
 * for 10 ms, of which a busy machine needs more to get a majority; then the driver rightly refuses them.
 */
export function persistent<T extends LockDriver>(driver: T): T {
  const attempt = driver.acquire.bind(driver);
  driver.acquire = async (...args) => {
    for (let left = 20; ; left--) {
      try {
        return await attempt(...args);
      } catch (error) {
        if (left === 0 || !/agreed too late|no answer within/.test(String(error))) throw error;
      }
    }
  };
  return driver;
}

export async function until(condition: () => boolean | Promise<boolean>, ms = 10_000): Promise<void> {
  const deadline = performance.now() + ms;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${condition}`);
    await sleep(2);
  }
}

export async function timed<T>(work: Promise<T>): Promise<{ result: T; ms: number }> {
  const begun = performance.now();
  const result = await work;
  return { result, ms: performance.now() - begun };
}
