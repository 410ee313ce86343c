import { randomUUID } from 'node:crypto';
import type { TestRunner } from '../test-runner.js';
import { expect } from '../expect.js';
import { found, hash, LONG, newRequest, RESPONSE, retryOf, SHORT } from './requests.js';
import type { StoreSubject } from './subject.js';

/** Keys that are given back, and keys of which nobody knows. */
export function releaseTests({ describe, it }: TestRunner, subject: StoreSubject): void {
  const { store, second, expire, claimed, refused } = subject;

  describe('release', () => {
    it('forget: even another payload may use the key', async () => {
      const first = newRequest();
      const { fence } = await claimed(first);
      expect(await store.release(first.id, first.token, 'forget', LONG)).toBe(true);
      expect(await store.find(first.id)).toBeNull();
      const other = retryOf(first, { fingerprint: hash('corrected') });
      const answer = await claimed(other);
      expect(answer.attempt).toBe(1);
      expect(answer.fence).toBeGreaterThan(fence);
      expect(await found(store, first.id)).toMatchObject({ fingerprint: other.fingerprint, attempt: 1 });
    });

    it('keep: free at once for the same payload only, as its next attempt', async () => {
      const first = newRequest();
      const { fence } = await claimed(first);
      expect(await store.release(first.id, first.token, 'keep', LONG)).toBe(true);
      expect(await found(store, first.id)).toMatchObject({
        state: 'running',
        token: null,
        attempt: 1,
        leaseRemainingMs: 0,
        response: null,
      });
      const other = retryOf(first, { fingerprint: hash('other') });
      expect(await refused(other)).toMatchObject({ token: null, fingerprint: first.fingerprint });
      const answer = await claimed(retryOf(first));
      expect(answer.attempt).toBe(2);
      expect(answer.fence).toBeGreaterThan(fence);
      expect((await found(store, first.id)).expiresAt).toBeNull();
    });

    it('forget by a later attempt keeps', async () => {
      const first = newRequest();
      await claimed(first);
      await store.release(first.id, first.token, 'keep', LONG);
      const again = retryOf(first);
      await claimed(again);
      expect(await store.release(again.id, again.token, 'forget', LONG)).toBe(true);
      expect((await refused(retryOf(first, { fingerprint: hash('other') }))).attempt).toBe(2);
      expect((await claimed(retryOf(first))).attempt).toBe(3);
    });

    it('keep ends with its retention', async () => {
      const first = newRequest();
      await claimed(first);
      await store.release(first.id, first.token, 'keep', SHORT);
      await expire();
      expect(await store.find(first.id)).toBeNull();
      expect((await claimed(retryOf(first, { fingerprint: hash('other') }))).attempt).toBe(1);
    });

    it('G10 by anybody but the owner, or of a completed key, does nothing', async () => {
      const request = newRequest();
      await claimed(request);
      expect(await store.release(request.id, 'somebody-else', 'forget', LONG)).toBe(false);
      expect((await found(store, request.id)).token).toBe(request.token);
      await store.complete(request.id, request.token, RESPONSE, LONG);
      expect(await store.release(request.id, request.token, 'keep', LONG)).toBe(false);
      expect((await found(store, request.id)).state).toBe('completed');
      expect(await store.release(hash(randomUUID()), 'nobody', 'forget', LONG)).toBe(false);
    });

    it('the owner does not own it any more', async () => {
      const request = newRequest();
      await claimed(request);
      await store.release(request.id, request.token, 'keep', LONG);
      expect(await store.release(request.id, request.token, 'keep', LONG)).toBe(false);
      expect(await store.renew([request], LONG)).toEqual([false]);
      expect(await store.markUncertain(request.id, request.token)).toBe(false);
    });
  });

  describe('markUncertain', () => {
    it('is never claimed afterwards, never renewed, released or swept', async () => {
      const request = newRequest({ leaseMs: SHORT });
      await claimed(request);
      expect(await store.markUncertain(request.id, request.token)).toBe(true);
      await expire();
      await store.sweep(1_000);
      const expected = {
        state: 'uncertain',
        token: request.token,
        expiresAt: null,
        response: null,
        leaseRemainingMs: 0,
      };
      expect(await refused(retryOf(request, { takeOrphan: true }))).toMatchObject(expected);
      expect(await refused(retryOf(request, { fingerprint: hash('other') }))).toMatchObject(expected);
      expect(await store.release(request.id, request.token, 'forget', LONG)).toBe(false);
      expect(await store.renew([request], LONG)).toEqual([false]);
      // Not even by its own claim sent again.
      await store.claim(request);
      expect(await found(store, request.id)).toMatchObject(expected);
    });

    it('G51 its owner may still complete it, and nobody else', async () => {
      const request = newRequest();
      await claimed(request);
      await store.markUncertain(request.id, request.token);
      expect(await store.complete(request.id, 'somebody-else', RESPONSE, LONG)).toBe(false);
      expect(await store.complete(request.id, request.token, RESPONSE, LONG)).toBe(true);
      expect(await second.complete(request.id, request.token, RESPONSE, LONG)).toBe(true);
      const record = await refused(retryOf(request));
      expect(record).toMatchObject({ state: 'completed', response: { status: 201 } });
      const kept = record.expiresAt! - record.completedAt!;
      // A clock may be looked at twice.
      expect(kept).toBeGreaterThanOrEqual(LONG);
      expect(kept).toBeLessThanOrEqual(LONG + 100);
    });

    it('G51 an orphan is marked by who finds it, a live claim is not', async () => {
      const request = newRequest({ leaseMs: SHORT });
      await claimed(request);
      await expire();
      await store.renew([request], LONG);
      expect(await second.markUncertain(request.id, request.token, true)).toBe(false);
      expect(await found(store, request.id)).toMatchObject({ state: 'running', token: request.token });
      await store.renew([request], SHORT);
      await expire();
      expect(await second.markUncertain(request.id, 'somebody-else', true)).toBe(false);
      expect(await second.markUncertain(request.id, request.token, true)).toBe(true);
      expect((await found(store, request.id)).state).toBe('uncertain');
      expect(await store.renew([request], LONG)).toEqual([false]);
    });

    it('only from running, and only by the token', async () => {
      const request = newRequest();
      await claimed(request);
      expect(await store.markUncertain(request.id, 'somebody-else')).toBe(false);
      await store.complete(request.id, request.token, RESPONSE, LONG);
      expect(await store.markUncertain(request.id, request.token)).toBe(false);
      expect((await found(store, request.id)).state).toBe('completed');
      expect(await store.markUncertain(hash(randomUUID()), 'nobody')).toBe(false);
    });
  });
}
