import { setTimeout as sleep } from 'node:timers/promises';
import type { Instance } from './contenders.js';

/** How long a lock is held while it changes hands, in milliseconds. */
const HOLD_MS = 2;
/** Until all who wait do wait, and sleep where they sleep, in milliseconds. */
const SETTLE_MS = 400;

/** Callers that take a free lock and give it back, each a lock of its own. @returns pairs a second. */
export async function pairsPerSecond(instance: Instance, callers: number, seconds: number): Promise<number> {
  const start = performance.now();
  const end = start + seconds * 1_000;
  let pairs = 0;
  let last = start;
  const call = async (name: string) => {
    while (performance.now() < end) {
      const release = await instance.acquire(name);
      await release();
      pairs++;
      last = performance.now();
    }
  };
  await Promise.all(Array.from({ length: callers }, (_, caller) => call(`free-${caller}`)));
  return pairs / ((last - start) / 1_000);
}

/**
 * Callers that wait for one lock, spread evenly over instances (each stands for a process); it goes from one to the next.
 *
 * @returns milliseconds from the beginning of each release to the next caller's having the lock.
 */
export async function handOffs(
  instances: readonly Instance[],
  waiters: number,
  name: string,
): Promise<number[]> {
  const times: number[] = [];
  const releaseFirst = await instances[0]!.acquire(name);
  let releasedAt = 0;
  const wait = async (instance: Instance) => {
    const release = await instance.acquire(name);
    times.push(performance.now() - releasedAt);
    await sleep(HOLD_MS);
    releasedAt = performance.now();
    await release();
  };
  const waiting = Array.from({ length: waiters }, (_, n) => wait(instances[(n + 1) % instances.length]!));
  await sleep(SETTLE_MS);
  releasedAt = performance.now();
  await releaseFirst();
  await Promise.all(waiting);
  return times;
}
