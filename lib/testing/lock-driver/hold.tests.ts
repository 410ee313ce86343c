import { setTimeout as sleep } from 'node:timers/promises';
import { randomUUID } from 'node:crypto';
import type { TestRunner } from '../test-runner.js';
import { expect } from '../expect.js';
import type { LockDriver } from '../../locks/lock-driver.js';
import { LONG_MS, type LockSubject } from './subject.js';

/** One holder at a time, of growing fences; who is not the holder can do nothing. */
export function holdTests(runner: TestRunner, subject: LockSubject): void {
  const { driver, second, queues, acquired, isFree } = subject;
  const it = subject.named(runner);

  it('G60 gives a lock to one, and tells the others how long it lives and who has it', async () => {
    await acquired(driver, 'first', 5_000);
    for (const other of [driver, second]) {
      const answer = await other.acquire(subject.name, 'other', LONG_MS);
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
    const all = [...names, long, `${long}y`].map((odd) => `${odd}${subject.name}`);
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
    expect(await second.release(subject.name, 'other')).toBe(false);
    expect(await second.extend([{ name: subject.name, token: 'other' }], 1)).toEqual([false]);
    await sleep(20);
    expect(await isFree()).toBe(false);
    expect(await driver.release(subject.name, 'holder')).toBe(true);
  });

  it('releases once, whoever sends it', async () => {
    await acquired(driver, 'mine');
    expect(await second.release(subject.name, 'mine')).toBe(true);
    expect(await driver.release(subject.name, 'mine')).toBe(false);
    expect(await driver.extend([{ name: subject.name, token: 'mine' }], LONG_MS)).toEqual([false]);
    expect(await isFree()).toBe(true);
  });

  it('extends many at once and tells for each whether it is still held', async () => {
    const names = Array.from({ length: 60 }, (_, i) => `${subject.name}:${i}`);
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
    expect(await driver.extend([{ name: subject.name, token: 'former' }], LONG_MS)).toEqual([false]);
    expect(await driver.release(subject.name, 'former')).toBe(false);
    expect((await driver.acquire(subject.name, 'former', LONG_MS)).acquired).toBe(false);
  });

  it('G10 a lock that ran out is not brought back by its former holder, though nobody has it', async () => {
    await acquired(driver, 'former', 60);
    await sleep(90);
    expect(await second.extend([{ name: subject.name, token: 'former' }], LONG_MS)).toEqual([false]);
    expect(await driver.release(subject.name, 'former')).toBe(false);
    expect(await isFree()).toBe(true);
  });

  it('shortens a life as well', async () => {
    await acquired(driver, 'mine');
    expect(await driver.extend([{ name: subject.name, token: 'mine' }], 50)).toEqual([true]);
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
      else await by.release(subject.name, `holder ${round}`);
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
        const answer = await by.acquire(subject.name, token, LONG_MS);
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
      expect(await by.release(subject.name, token)).toBe(true);
    };
    await Promise.all(Array.from({ length: 50 }, (_, i) => contend(i % 2 ? driver : second)));
    expect({ counter, most }).toEqual({ counter: 50, most: 1 });
    expect(fences).toEqual(fences.toSorted((a, b) => (a < b ? -1 : 1)));
    expect(new Set(fences).size).toBe(50);
  });

  it('says whether a refused contender stands in line', async () => {
    expect([driver.queues, second.queues]).toEqual([queues, queues]);
  });
}
