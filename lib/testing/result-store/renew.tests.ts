import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestRunner } from '../test-runner.js';
import { expect } from '../expect.js';
import { found, hash, LONG, newRequest, retryOf, SHORT } from './requests.js';
import type { StoreSubject } from './subject.js';

/** Leases are prolonged, run out, and are taken over. */
export function renewTests({ describe, it }: TestRunner, subject: StoreSubject): void {
  const { store, expire, claimed, refused, completed } = subject;

  describe('renew', () => {
    it('answers for each claim in order, and prolongs those that are the caller’s', async () => {
      const mine = [newRequest({ leaseMs: 5_000 }), newRequest({ leaseMs: 5_000 })] as const;
      const foreign = newRequest({ leaseMs: 5_000 });
      const done = newRequest();
      const released = newRequest();
      for (const request of [...mine, foreign, released]) await claimed(request);
      await completed(done);
      await store.release(released.id, released.token, 'keep', LONG);
      const claims = [
        mine[0],
        { id: foreign.id, token: 'somebody-else' },
        done,
        { id: hash(randomUUID()), token: 'nobody' },
        mine[1],
        released,
      ].map(({ id, token }) => ({ id, token }));
      expect(await store.renew(claims, LONG)).toEqual([true, false, false, false, true, false]);
      for (const { id } of mine) {
        expect((await found(store, id)).leaseRemainingMs).toBeGreaterThan(LONG - 10_000);
      }
      expect((await found(store, foreign.id)).leaseRemainingMs).toBeLessThanOrEqual(5_000);
      expect((await found(store, done.id)).state).toBe('completed');
      expect(await found(store, released.id)).toMatchObject({ token: null, leaseRemainingMs: 0 });
    });

    it('of nothing is nothing', async () => {
      expect(await store.renew([], LONG)).toEqual([]);
    });

    it('of 600 claims at once', async () => {
      const requests = Array.from({ length: 600 }, () => newRequest());
      for (let from = 0; from < requests.length; from += 50) {
        await Promise.all(requests.slice(from, from + 50).map((request) => store.claim(request)));
      }
      const lost = new Set([0, 7, 599]);
      const claims = requests.map(({ id, token }, i) => ({ id, token: lost.has(i) ? 'other' : token }));
      const renewed = await store.renew(claims, LONG);
      expect(renewed.flatMap((answer, i) => (answer ? [] : [i]))).toEqual([...lost]);
    });

    it('keeps a claim that ran out and was not taken, and loses one that was', async () => {
      const kept = newRequest({ leaseMs: SHORT });
      const lost = newRequest({ leaseMs: SHORT });
      await claimed(kept);
      await claimed(lost);
      await expire();
      const successor = retryOf(lost, { leaseMs: 5_000, takeOrphan: true });
      await claimed(successor);
      expect(await store.renew([kept, lost], LONG)).toEqual([true, false]);
      expect(await refused(retryOf(kept, { takeOrphan: true }))).toMatchObject({ token: kept.token });
      expect((await found(store, lost.id)).leaseRemainingMs).toBeLessThanOrEqual(5_000);
    });
  });

  describe('an orphan', () => {
    it('is shown as one, and taken only by who may take it', async () => {
      const leaseMs = 500;
      const first = newRequest({ leaseMs });
      const { fence } = await claimed(first);
      expect((await refused(retryOf(first, { takeOrphan: true }))).token).toBe(first.token);
      await sleep(leaseMs + 20);
      expect(await refused(retryOf(first, { takeOrphan: false }))).toMatchObject({
        state: 'running',
        token: first.token,
        leaseRemainingMs: 0,
      });
      const heir = retryOf(first, { takeOrphan: true, leaseMs: LONG });
      const answer = await claimed(heir);
      expect(answer.attempt).toBe(2);
      expect(answer.fence).toBeGreaterThan(fence);
      expect(await found(store, first.id)).toMatchObject({ token: heir.token, attempt: 2 });
    });

    it('is not taken for another payload', async () => {
      const first = newRequest({ leaseMs: SHORT });
      await claimed(first);
      await expire();
      const other = retryOf(first, { takeOrphan: true, fingerprint: hash('other') });
      expect(await refused(other)).toMatchObject({ fingerprint: first.fingerprint, token: first.token });
    });
  });
}
