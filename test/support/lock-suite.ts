import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LockDriver } from '../../lib/locks/lock-driver.js';

export interface LockDriverUnderTest {
  readonly driver: LockDriver;
  /** The same locks by another connection; the same driver where there are no connections. */
  readonly second: LockDriver;
  readonly cleanup: () => Promise<void>;
}

const LONG_MS = 30_000;

/** What every lock driver promises, see `lock-driver.ts`. `queues`: whether the driver says so of itself. */
export function describeLockDriver(
  driverName: string,
  create: () => Promise<LockDriverUnderTest>,
  { queues = false } = {},
): void {
  describe(`lock driver ${driverName}`, () => {
    let driver: LockDriver;
    let second: LockDriver;
    let cleanup: () => Promise<void>;
    let name: string;

    beforeAll(async () => {
      ({ driver, second, cleanup } = await create());
    });

    afterAll(() => cleanup());

    beforeEach(() => {
      name = `order:${randomUUID()}`;
    });

    async function acquired(by: LockDriver, token: string, ttlMs = LONG_MS, lock = name): Promise<bigint> {
      const answer = await by.acquire(lock, token, ttlMs);
      if (!answer.acquired) throw new Error(`busy: ${JSON.stringify(answer)}`);
      return answer.fence;
    }

    async function isFree(lock = name): Promise<boolean> {
      const token = randomUUID();
      const { acquired } = await second.acquire(lock, token, LONG_MS);
      if (acquired || queues) await second.release(lock, token);
      return acquired;
    }

    it('G60 gives a lock to one, and tells the others how long it lives and who has it', async () => {
      await acquired(driver, 'first', 5_000);
      for (const other of [driver, second]) {
        const answer = await other.acquire(name, 'other', LONG_MS);
        if (answer.acquired) throw new Error('given to two');
        expect(answer.retryAfterMs).toBeGreaterThan(3_000);
        expect(answer.retryAfterMs).toBeLessThanOrEqual(5_000);
        expect([undefined, 'first']).toContain(answer.holder);
      }
    });

    it('gives locks of different names to different holders', async () => {
      const names = [
        '',
        'a',
        'A',
        'a ',
        ' a',
        'ä',
        '{a}',
        '{}',
        '}a{',
        'a:b',
        'a\nb',
        '😀',
        '#',
        '\ud83d',
        '\ud83e',
      ];
      const long = 'x'.repeat(10_000);
      const all = [...names, long, `${long}y`].map((odd) => `${odd}${name}`);
      for (const odd of all) await acquired(driver, odd.slice(-40), LONG_MS, odd);
      for (const odd of all) expect(await isFree(odd)).toBe(false);
      for (const odd of all) expect(await second.release(odd, odd.slice(-40))).toBe(true);
      for (const odd of all) expect(await isFree(odd)).toBe(true);
    });

    it('G03 recognises an attempt that was sent again, with the full life and no lower fence', async () => {
      const fence = await acquired(driver, 'mine', 400);
      await sleep(250);
      expect(await acquired(second, 'mine', 400)).toBeGreaterThanOrEqual(fence);
      await sleep(250);
      expect(await isFree()).toBe(false);
    });

    it('G10 releases and extends nothing by another token', async () => {
      await acquired(driver, 'holder');
      expect(await second.release(name, 'other')).toBe(false);
      expect(await second.extend([{ name, token: 'other' }], 1)).toEqual([false]);
      await sleep(20);
      expect(await isFree()).toBe(false);
      expect(await driver.release(name, 'holder')).toBe(true);
    });

    it('releases once, whoever sends it', async () => {
      await acquired(driver, 'mine');
      expect(await second.release(name, 'mine')).toBe(true);
      expect(await driver.release(name, 'mine')).toBe(false);
      expect(await driver.extend([{ name, token: 'mine' }], LONG_MS)).toEqual([false]);
      expect(await isFree()).toBe(true);
    });

    it('extends many at once and tells for each whether it is still held', async () => {
      const names = Array.from({ length: 60 }, (_, i) => `${name}:${i}`);
      // Every third belongs to somebody else, every third to nobody.
      for (const [i, lock] of names.entries()) {
        if (i % 3 !== 2) await acquired(driver, i % 3 === 0 ? 'mine' : 'theirs', 1_500, lock);
      }
      const locks = names.map((lock) => ({ name: lock, token: 'mine' }));
      expect(await driver.extend(locks, LONG_MS)).toEqual(names.map((_, i) => i % 3 === 0));
      await sleep(1_600);
      expect(await Promise.all(names.map(isFree))).toEqual(names.map((_, i) => i % 3 !== 0));
      expect(await driver.extend([], LONG_MS)).toEqual([]);
    });

    it('gives a lock that ran out to the next, and the former holder can do nothing to it', async () => {
      await acquired(driver, 'former', 100);
      await sleep(120);
      await acquired(second, 'next');
      expect(await driver.extend([{ name, token: 'former' }], LONG_MS)).toEqual([false]);
      expect(await driver.release(name, 'former')).toBe(false);
      expect((await driver.acquire(name, 'former', LONG_MS)).acquired).toBe(false);
    });

    it('shortens a life as well', async () => {
      await acquired(driver, 'mine');
      expect(await driver.extend([{ name, token: 'mine' }], 50)).toEqual([true]);
      await sleep(80);
      expect(await isFree()).toBe(true);
    });

    it('G14 gives every new holder a greater fence, after a release and after running out', async () => {
      let last = 0n;
      for (let round = 0; round < 30; round++) {
        const by = round % 2 ? driver : second;
        const runsOut = round % 10 === 0;
        const fence = await acquired(by, `holder ${round}`, runsOut ? 10 : LONG_MS);
        expect(fence).toBeGreaterThan(last);
        last = fence;
        if (runsOut) await sleep(20);
        else await by.release(name, `holder ${round}`);
      }
    });

    it('G60 keeps an unprotected counter of 50 contenders right', async () => {
      let counter = 0;
      let inside = 0;
      let most = 0;
      const fences: bigint[] = [];
      const contend = async (by: LockDriver) => {
        const token = randomUUID();
        for (;;) {
          const answer = await by.acquire(name, token, LONG_MS);
          if (answer.acquired) {
            fences.push(answer.fence);
            break;
          }
          await sleep(1 + Math.random() * 10);
        }
        most = Math.max(most, ++inside);
        const seen = counter;
        await sleep(1);
        counter = seen + 1;
        inside--;
        expect(await by.release(name, token)).toBe(true);
      };
      await Promise.all(Array.from({ length: 50 }, (_, i) => contend(i % 2 ? driver : second)));
      expect({ counter, most }).toEqual({ counter: 50, most: 1 });
      expect(fences).toEqual(fences.toSorted((a, b) => (a < b ? -1 : 1)));
      expect(new Set(fences).size).toBe(50);
    });

    it('says whether a refused contender stands in line', () => {
      expect([driver.queues, second.queues]).toEqual([queues, queues]);
    });

    /** Whether a wake-up comes in time. */
    async function woken(what: { count: number }, count: number): Promise<boolean> {
      for (let waited = 0; waited < 1_000 && what.count < count; waited += 5) await sleep(5);
      return what.count >= count;
    }

    async function watching(
      by: LockDriver,
      token = 'a waiter',
    ): Promise<{ count: number; stop: () => void }> {
      const seen = { count: 0, stop: () => undefined as void };
      seen.stop = await by.watch!(name, () => seen.count++, token);
      return seen;
    }

    (queues ? describe : noDescribe)('line', () => {
      const isFirst = async (by: LockDriver, token: string) =>
        (await by.acquire(name, token, LONG_MS)).acquired;

      it('G62 serves first come first, and wakes only whose turn it may be', async () => {
        await acquired(driver, 'holder');
        const tokens = ['first', 'second', 'third'];
        for (const token of tokens) expect(await isFirst(second, token)).toBe(false);
        const waiters: { count: number; stop: () => void }[] = [];
        for (const token of tokens) waiters.push(await watching(second, token));
        expect(await driver.release(name, 'holder')).toBe(true);
        for (const [at, token] of tokens.entries()) {
          expect(await woken(waiters[at]!, 1)).toBe(true);
          expect(waiters.map(({ count }) => count > 0)).toEqual(tokens.map((_, other) => other <= at));
          expect(await Promise.all(tokens.slice(at + 1).map((late) => isFirst(second, late)))).not.toContain(
            true,
          );
          expect(await isFirst(second, token)).toBe(true);
          expect(await second.release(name, token)).toBe(true);
        }
        for (const waiter of waiters) waiter.stop();
      });

      it('G18 who gives up holds up nobody behind, and takes nothing from the one before', async () => {
        await acquired(driver, 'holder');
        expect(await isFirst(second, 'leaver')).toBe(false);
        expect(await isFirst(driver, 'last')).toBe(false);
        const last = await watching(driver, 'last');
        expect(await second.release(name, 'leaver')).toBe(false);
        expect(await woken(last, 1)).toBe(true);
        expect(await isFirst(driver, 'last')).toBe(false);
        await driver.release(name, 'holder');
        expect(await woken(last, 2)).toBe(true);
        expect(await isFirst(driver, 'last')).toBe(true);
        last.stop();
      });

      it('wakes nobody for a hold that is prolonged', async () => {
        await acquired(driver, 'holder');
        expect(await isFirst(second, 'waiter')).toBe(false);
        const waiter = await watching(second, 'waiter');
        for (let i = 0; i < 3; i++)
          expect(await driver.extend([{ name, token: 'holder' }], LONG_MS)).toEqual([true]);
        await sleep(50);
        expect(waiter.count).toBe(0);
        await driver.release(name, 'holder');
        expect(await woken(waiter, 1)).toBe(true);
        waiter.stop();
      });

      it('wakes nobody who stopped watching', async () => {
        await acquired(driver, 'holder');
        expect(await isFirst(second, 'waiter')).toBe(false);
        const waiter = await watching(second, 'waiter');
        waiter.stop();
        waiter.stop();
        await driver.release(name, 'holder');
        expect(await isFirst(second, 'waiter')).toBe(true);
        expect(waiter.count).toBe(0);
      });
    });

    (queues ? noDescribe : describe)('watch', () => {
      it('G62 wakes every waiter at the release', async () => {
        if (!driver.watch) return;
        await acquired(driver, 'mine');
        const waiters = [await watching(driver), await watching(second), await watching(second)];
        expect(await driver.release(name, 'mine')).toBe(true);
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
        await driver.release(name, 'mine');
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
          await driver.release(name, 'mine');
          expect(await woken(after, 1)).toBe(true);
          after.stop();
        }
      });

      it('tells of no release that did not take place', async () => {
        if (!driver.watch) return;
        await acquired(driver, 'mine');
        const waiter = await watching(second);
        await driver.release(name, 'other');
        await driver.extend([{ name, token: 'mine' }], LONG_MS);
        await sleep(50);
        expect(waiter.count).toBe(0);
        waiter.stop();
      });
    });
  });
}

/** Of another kind of driver. */
function noDescribe(): void {}
