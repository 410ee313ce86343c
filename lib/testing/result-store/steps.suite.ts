import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from '../expect.js';
import { later, lifecycle, type TestRunner } from '../test-runner.js';
import { LONG, newRequest, RESPONSE, retryOf } from './requests.js';
import type { StoreUnderTest } from './subject.js';

/** Every promise of `StepStore`, for a store that has `steps`. See `describeResultStore`. */
export function describeStepStore(
  runner: TestRunner,
  name: string,
  create: () => Promise<StoreUnderTest>,
): void {
  const { describe, it } = runner;
  describe(`StepStore: ${name}`, () => {
    const made = lifecycle(runner, create, ({ cleanup }) => cleanup());
    const store = later(() => made().store);
    const steps = later(() => made().store.steps!);
    const second = later(() => (made().second ?? made().store).steps!);

    async function claim(request = newRequest()): Promise<ReturnType<typeof newRequest>> {
      expect(await store.claim(request)).toMatchObject({ claimed: true });
      return request;
    }

    async function names(id: string): Promise<string[]> {
      return (await second.list(id)).map((step) => step.name);
    }

    it('G51 tells what was recorded, in order, with every character', async () => {
      const { id, token } = await claim();
      const result = JSON.stringify({ value: ['ärger 😀 \u2028 "\\', null, 0.1, { a: '\n' }] });
      expect(await steps.record(id, token, { name: 'zweite 😀', position: 1, result })).toBe(true);
      expect(await steps.record(id, token, { name: 'first', position: 0, result: '{}' })).toBe(true);
      const [first, last] = await second.list(id);
      expect(first).toMatchObject({ name: 'first', position: 0, result: '{}', attempt: 1 });
      expect(last).toMatchObject({ name: 'zweite 😀', position: 1, result, attempt: 1 });
      expect(Math.abs(first!.completedAt - Date.now())).toBeLessThan(10_000);
      expect(await steps.list(newRequest().id)).toEqual([]);
    });

    it('a step whose reply was lost may be recorded again; names that differ in case are two', async () => {
      const { id, token } = await claim();
      for (let n = 0; n < 3; n++)
        expect(await steps.record(id, token, { name: 'pay', position: 0, result: '{"value":1}' })).toBe(true);
      expect(await steps.record(id, token, { name: 'PAY', position: 1, result: '{}' })).toBe(true);
      expect(await names(id)).toEqual(['pay', 'PAY']);
    });

    it('G10 records nothing of somebody who does not own the record', async () => {
      const step = { name: 'pay', position: 0, result: '{}' };
      const first = await claim(newRequest({ leaseMs: 20 }));
      expect(await steps.record(first.id, randomUUID(), step)).toBe(false);
      expect(await steps.record(newRequest().id, first.token, step)).toBe(false);
      await sleep(50);
      const next = await claim(retryOf(first, { takeOrphan: true }));
      expect(await steps.record(first.id, first.token, step)).toBe(false);
      expect(await names(first.id)).toEqual([]);
      expect(await steps.record(next.id, next.token, step)).toBe(true);
      expect(await store.complete(next.id, next.token, RESPONSE, LONG)).toBe(true);
      expect(await steps.record(next.id, next.token, { ...step, name: 'late' })).toBe(false);
    });

    it('G51 steps outlive an orphan, a release with keep, and being uncertain', async () => {
      const first = await claim(newRequest({ leaseMs: 20 }));
      await steps.record(first.id, first.token, { name: 'a', position: 0, result: '{"value":1}' });
      await sleep(50);
      const next = await claim(retryOf(first, { takeOrphan: true }));
      expect(await names(first.id)).toEqual(['a']);
      await steps.record(next.id, next.token, { name: 'b', position: 1, result: '{"value":2}' });
      await store.release(next.id, next.token, 'keep', LONG);
      expect(await names(first.id)).toEqual(['a', 'b']);
      const third = await claim(retryOf(first));
      const recorded = await second.list(third.id);
      expect(recorded.map(({ attempt, result }) => [attempt, result])).toEqual([
        [1, '{"value":1}'],
        [2, '{"value":2}'],
      ]);
      await store.markUncertain(third.id, third.token);
      expect(await names(first.id)).toEqual(['a', 'b']);
    });

    it('G06 a record that expired and is claimed anew has no steps of before', async () => {
      const first = await claim();
      await steps.record(first.id, first.token, { name: 'a', position: 0, result: '{"value":"old"}' });
      await store.release(first.id, first.token, 'keep', 20);
      await sleep(50);
      expect(await names(first.id)).toEqual([]);
      const next = await claim(retryOf(first, { fingerprint: first.id }));
      expect(await names(first.id)).toEqual([]);
      expect(await steps.record(next.id, next.token, { name: 'a', position: 0, result: '{}' })).toBe(true);
      expect(await second.list(next.id)).toMatchObject([{ name: 'a', result: '{}', attempt: 1 }]);
    });

    it('a record that is forgotten has no steps', async () => {
      const first = await claim();
      await steps.record(first.id, first.token, { name: 'a', position: 0, result: '{}' });
      await store.release(first.id, first.token, 'forget', LONG);
      await sleep(10);
      await claim(retryOf(first, { fingerprint: first.id }));
      expect(await names(first.id)).toEqual([]);
    });

    it('G80 a sweep takes the steps of expired records along, and no others', async () => {
      const gone = await claim();
      const stays = await claim();
      for (const { id, token } of [gone, stays]) {
        for (const position of [0, 1])
          expect(await steps.record(id, token, { name: `s${position}`, position, result: '{}' })).toBe(true);
      }
      await store.complete(gone.id, gone.token, RESPONSE, 1);
      await sleep(50);
      while ((await store.sweep(100)) > 0);
      expect(await names(gone.id)).toEqual([]);
      expect(await names(stays.id)).toEqual(['s0', 's1']);
    });
  });
}
