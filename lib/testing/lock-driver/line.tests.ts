import { setTimeout as sleep } from 'node:timers/promises';
import type { TestRunner } from '../test-runner.js';
import { expect } from '../expect.js';
import type { LockDriver } from '../../locks/lock-driver.js';
import { LONG_MS, type LockSubject } from './subject.js';

/** A driver that keeps a line of its own serves first come first. */
export function lineTests(runner: TestRunner, subject: LockSubject): void {
  const { describe } = runner;
  const { driver, second, acquired, woken, watching } = subject;
  const it = subject.named(runner);

  describe('line', () => {
    const isFirst = async (by: LockDriver, token: string) =>
      (await by.acquire(subject.name, token, LONG_MS)).acquired;

    it('G62 serves first come first, and wakes only whose turn it may be', async () => {
      await acquired(driver, 'holder');
      const tokens = ['first', 'second', 'third'];
      for (const token of tokens) expect(await isFirst(second, token)).toBe(false);
      const waiters: { count: number; stop: () => void }[] = [];
      for (const token of tokens) waiters.push(await watching(second, token));
      expect(await driver.release(subject.name, 'holder')).toBe(true);
      for (const [at, token] of tokens.entries()) {
        expect(await woken(waiters[at]!, 1)).toBe(true);
        expect(waiters.map(({ count }) => count > 0)).toEqual(tokens.map((_, other) => other <= at));
        expect(await Promise.all(tokens.slice(at + 1).map((late) => isFirst(second, late)))).not.toContain(
          true,
        );
        expect(await isFirst(second, token)).toBe(true);
        expect(await second.release(subject.name, token)).toBe(true);
      }
      for (const waiter of waiters) waiter.stop();
    });

    it('G18 who gives up holds up nobody behind, and takes nothing from the one before', async () => {
      await acquired(driver, 'holder');
      expect(await isFirst(second, 'leaver')).toBe(false);
      expect(await isFirst(driver, 'last')).toBe(false);
      const last = await watching(driver, 'last');
      expect(await second.release(subject.name, 'leaver')).toBe(false);
      expect(await woken(last, 1)).toBe(true);
      expect(await isFirst(driver, 'last')).toBe(false);
      await driver.release(subject.name, 'holder');
      expect(await woken(last, 2)).toBe(true);
      expect(await isFirst(driver, 'last')).toBe(true);
      last.stop();
    });

    it('wakes nobody for a hold that is prolonged', async () => {
      await acquired(driver, 'holder');
      expect(await isFirst(second, 'waiter')).toBe(false);
      const waiter = await watching(second, 'waiter');
      for (let i = 0; i < 3; i++)
        expect(await driver.extend([{ name: subject.name, token: 'holder' }], LONG_MS)).toEqual([true]);
      await sleep(50);
      expect(waiter.count).toBe(0);
      await driver.release(subject.name, 'holder');
      expect(await woken(waiter, 1)).toBe(true);
      waiter.stop();
    });

    it('wakes nobody who stopped watching', async () => {
      await acquired(driver, 'holder');
      expect(await isFirst(second, 'waiter')).toBe(false);
      const waiter = await watching(second, 'waiter');
      waiter.stop();
      waiter.stop();
      await driver.release(subject.name, 'holder');
      expect(await isFirst(second, 'waiter')).toBe(true);
      expect(waiter.count).toBe(0);
    });
  });
}
