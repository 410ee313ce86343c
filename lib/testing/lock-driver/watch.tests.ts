import { setTimeout as sleep } from 'node:timers/promises';
import type { TestRunner } from '../test-runner.js';
import { expect } from '../expect.js';
import { LONG_MS, type LockSubject } from './subject.js';

/** Waiters are woken by a release, and by nothing else. */
export function watchTests(runner: TestRunner, subject: LockSubject): void {
  const { describe } = runner;
  const { driver, second, acquired, woken, watching } = subject;
  const it = subject.named(runner);

  describe('watch', () => {
    it('G62 wakes every waiter at the release', async () => {
      if (!driver.watch) return;
      await acquired(driver, 'mine');
      const waiters = [await watching(driver), await watching(second), await watching(second)];
      expect(await driver.release(subject.name, 'mine')).toBe(true);
      for (const waiter of waiters) expect(await woken(waiter, 1)).toBe(true);
      for (const waiter of waiters) waiter.stop();
    });

    it('wakes those who are left when one leaves, and nobody who left', async () => {
      if (!driver.watch) return;
      const leaver = await watching(second);
      const stayer = await watching(second);
      leaver.stop();
      leaver.stop();
      await acquired(driver, 'mine');
      await driver.release(subject.name, 'mine');
      expect(await woken(stayer, 1)).toBe(true);
      expect(leaver.count).toBe(0);
      stayer.stop();
    });

    it('wakes who watches again while the last one is just leaving', async () => {
      if (!driver.watch) return;
      for (let round = 0; round < 20; round++) {
        const before = await watching(second);
        before.stop();
        const after = await watching(second);
        before.stop();
        await acquired(driver, 'mine');
        await driver.release(subject.name, 'mine');
        expect(await woken(after, 1)).toBe(true);
        after.stop();
      }
    });

    it('tells of no release that did not take place', async () => {
      if (!driver.watch) return;
      await acquired(driver, 'mine');
      const waiter = await watching(second);
      await driver.release(subject.name, 'other');
      await driver.extend([{ name: subject.name, token: 'mine' }], LONG_MS);
      await sleep(50);
      expect(waiter.count).toBe(0);
      waiter.stop();
    });
  });
}
