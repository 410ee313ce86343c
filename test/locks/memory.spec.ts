import { setTimeout as sleep } from 'node:timers/promises';
import { MemoryLock, memoryLock } from '../../lib/locks/memory.lock.js';
import { describeLockDriver } from '../support/lock-suite.js';

describeLockDriver('memory', async () => {
  const driver = memoryLock();
  return { driver, second: driver, cleanup: async () => undefined };
});

it('what ran out and is never asked for again goes in time', async () => {
  const lock = memoryLock();
  const size = () => Reflect.get(lock, 'holdings').size as number;
  for (let i = 0; i < 1_000; i++) await lock.acquire(`left behind ${i}`, 'token', 1);
  await sleep(5);
  for (let i = 0; i < 1_000; i++) {
    await lock.acquire(`order:${i}`, 'token', 60_000);
    await lock.release(`order:${i}`, 'token');
  }
  expect(size()).toBeLessThan(10);
});

it('G14 gives greater fences after a restart of the process, and when the clock steps back', async () => {
  let wall = 1_700_000_000_000;
  const clock = { mono: () => 0, wall: () => wall };
  const fence = async (lock: MemoryLock, name: string) => {
    const answer = await lock.acquire(name, name, 1_000);
    if (!answer.acquired) throw new Error('busy');
    return answer.fence;
  };
  const before = new MemoryLock(clock);
  const fences = [await fence(before, 'a'), await fence(before, 'b')];
  expect(fences).toEqual([1_700_000_000_000_000n, 1_700_000_000_000_001n]);
  wall -= 3_600_000;
  expect(await fence(before, 'c')).toBe(1_700_000_000_000_002n);
  wall += 3_600_001;
  expect(await fence(new MemoryLock(clock), 'a')).toBe(1_700_000_000_001_000n);
});
