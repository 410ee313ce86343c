import { setTimeout as sleep } from 'node:timers/promises';
import type { TestRunner } from '../test-runner.js';
import { expect } from '../expect.js';
import { found, hash, LONG, newRequest, RESPONSE, retryOf, SHORT } from './requests.js';
import type { StoreSubject } from './subject.js';

/** Rows expire, and are removed. */
export function retentionTests({ describe, it }: TestRunner, subject: StoreSubject): void {
  const { store, second, copies, expire, claimed, completed } = subject;

  describe('retention', () => {
    it('G06 an expired row is taken over, and nothing of it is left', async () => {
      const first = newRequest({ takeOrphan: false });
      const { fence } = await claimed(first);
      await store.complete(first.id, first.token, RESPONSE, SHORT);
      const old = await found(store, first.id);
      await expire();
      expect(await store.find(first.id)).toBeNull();
      const other = retryOf(first, { fingerprint: hash('other') });
      const answer = await claimed(other);
      expect(answer.attempt).toBe(1);
      expect(answer.fence).toBeGreaterThan(fence);
      const record = await found(store, first.id);
      expect(record).toMatchObject({
        state: 'running',
        fingerprint: other.fingerprint,
        token: other.token,
        attempt: 1,
        response: null,
        completedAt: null,
        expiresAt: null,
      });
      expect(record.createdAt).toBeGreaterThan(old.createdAt);
      // What the old owner left does not shine through what the new one stores.
      await store.complete(other.id, other.token, { status: null, headers: {}, body: null }, LONG);
      expect((await found(store, first.id)).response).toEqual({ status: null, headers: {}, body: null });
    });

    it('an attempt number does not survive it', async () => {
      const first = newRequest();
      await claimed(first);
      await store.release(first.id, first.token, 'keep', LONG);
      const again = retryOf(first);
      expect((await claimed(again)).attempt).toBe(2);
      await store.complete(again.id, again.token, RESPONSE, SHORT);
      await expire();
      expect((await claimed(retryOf(first))).attempt).toBe(1);
    });

    it('a running row never expires', async () => {
      const request = newRequest({ leaseMs: SHORT, retentionMs: LONG });
      await claimed(request);
      await expire();
      await store.sweep(1_000);
      expect(await found(store, request.id)).toMatchObject({ state: 'running', expiresAt: null });
    });

    it('G14 fences grow over release, expiry and forgetting', async () => {
      let request = newRequest();
      const fences: bigint[] = [];
      for (let i = 0; i < 12; i++) {
        fences.push((await claimed(request)).fence);
        if (i % 3 === 0) await store.release(request.id, request.token, 'forget', LONG);
        if (i % 3 === 1) await store.release(request.id, request.token, 'keep', LONG);
        if (i % 3 === 2) {
          await store.complete(request.id, request.token, RESPONSE, 1);
          await sleep(5);
          if (i === 5) await store.sweep(1_000);
        }
        request = retryOf(request);
      }
      expect(fences).toEqual([...fences].sort((a, b) => (a < b ? -1 : 1)));
      expect(new Set(fences).size).toBe(fences.length);
    });
  });

  describe('sweep', () => {
    it('G80 removes expired rows in bounded batches, and nothing else', async () => {
      while (await store.sweep(1_000));
      const live = newRequest();
      const orphan = newRequest({ leaseMs: SHORT });
      const uncertain = newRequest({ leaseMs: SHORT });
      const kept = newRequest();
      const released = newRequest();
      for (const request of [live, orphan, uncertain, released]) await claimed(request);
      await store.markUncertain(uncertain.id, uncertain.token);
      await store.release(released.id, released.token, 'keep', LONG);
      await completed(kept);
      const expired = Array.from({ length: 6 }, () => newRequest());
      for (const request of expired) await completed(request, SHORT);
      const gone = newRequest();
      await claimed(gone);
      await store.release(gone.id, gone.token, 'keep', SHORT);
      await expire();

      const removed = [
        await store.sweep(4 * copies()),
        await second.sweep(4 * copies()),
        await store.sweep(4 * copies()),
      ];
      // A store that expires rows by itself has nothing to sweep.
      if (removed[0] !== 0) expect(removed).toEqual([4 * copies(), 3 * copies(), 0]);
      for (const request of [...expired, gone]) expect(await store.find(request.id)).toBeNull();
      expect(await found(store, live.id)).toMatchObject({ state: 'running', token: live.token });
      expect(await found(store, orphan.id)).toMatchObject({ state: 'running', token: orphan.token });
      expect(await found(store, uncertain.id)).toMatchObject({ state: 'uncertain' });
      expect(await found(store, kept.id)).toMatchObject({ state: 'completed' });
      expect(await found(store, released.id)).toMatchObject({ state: 'running', token: null });
    });

    it('G80 never removes a row that was claimed meanwhile', async () => {
      for (let round = 0; round < 15; round++) {
        const first = newRequest();
        await completed(first, 1);
        await sleep(3);
        const heir = retryOf(first);
        const [answer] = await Promise.all([store.claim(heir), second.sweep(1_000), store.sweep(1_000)]);
        expect(answer.claimed).toBe(true);
        expect(await found(store, first.id)).toMatchObject({ state: 'running', token: heir.token });
      }
    });
  });
}
