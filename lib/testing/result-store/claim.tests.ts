import type { TestRunner } from '../test-runner.js';
import { ANY_NUMBER, expect } from '../expect.js';
import { found, hash, LONG, newRequest, RESPONSE, retryOf, SHORT } from './requests.js';
import type { ClaimRequest } from '../../stores/result-store.js';
import type { StoreSubject } from './subject.js';

/** One atomic operation claims, or tells what is there. */
export function claimTests({ describe, it }: TestRunner, subject: StoreSubject): void {
  const { store, second, expire, claimed, refused, completed } = subject;

  describe('claim', () => {
    it('G02 owns a key nobody has used', async () => {
      const request = newRequest({ scope: 'Refunds.create', key: 'order-1' });
      const before = Date.now();
      const answer = await claimed(request);
      expect(answer.attempt).toBe(1);
      expect(answer.fence).toBeGreaterThan(0n);
      const record = await found(store, request.id);
      expect(record).toEqual({
        id: request.id,
        scope: 'Refunds.create',
        key: 'order-1',
        fingerprint: request.fingerprint,
        state: 'running',
        attempt: 1,
        token: request.token,
        leaseRemainingMs: ANY_NUMBER,
        response: null,
        createdAt: ANY_NUMBER,
        completedAt: null,
        expiresAt: null,
      });
      expect(record.leaseRemainingMs).toBeLessThanOrEqual(LONG);
      expect(record.leaseRemainingMs).toBeGreaterThan(LONG - 10_000);
      // Servers of the tests share the clock of this process; a time zone would be at least 15 minutes.
      expect(Math.abs(record.createdAt - before)).toBeLessThan(10_000);
    });

    it('G02 tells what is there while another one runs', async () => {
      const first = newRequest();
      await claimed(first);
      const record = await refused(retryOf(first));
      expect(record).toMatchObject({ state: 'running', token: first.token, attempt: 1, response: null });
      expect(record.leaseRemainingMs).toBeGreaterThan(0);
      expect(await second.claim(retryOf(first))).toMatchObject({
        claimed: false,
        record: { state: 'running' },
      });
    });

    it('G03 recognises its own claim when it is sent again', async () => {
      const request = newRequest({ leaseMs: 5_000 });
      const first = await claimed(request);
      expect(await claimed({ ...request, leaseMs: LONG })).toMatchObject(first);
      expect((await found(store, request.id)).leaseRemainingMs).toBeGreaterThan(LONG - 10_000);
      expect(await second.claim(request)).toMatchObject(first);
      expect(await store.complete(request.id, request.token, RESPONSE, LONG)).toBe(true);
    });

    it('G03 recognises its own second attempt when it is sent again', async () => {
      const first = newRequest();
      await claimed(first);
      await store.release(first.id, first.token, 'keep', LONG);
      const again = retryOf(first);
      const answer = await claimed(again);
      expect(answer.attempt).toBe(2);
      expect(await claimed(again)).toMatchObject(answer);
    });

    it('G03 recognises its own claim whose lease ran out, as long as nobody else has it', async () => {
      const request = newRequest({ leaseMs: SHORT, takeOrphan: true });
      const first = await claimed(request);
      await expire();
      expect(await claimed(request)).toMatchObject(first);
    });

    it('a claim sent again after the key was completed changes nothing', async () => {
      const request = newRequest();
      await completed(request);
      await store.claim(request);
      expect(await found(store, request.id)).toMatchObject({
        state: 'completed',
        response: { status: 201 },
      });
    });

    it('G01 of 50 simultaneous claims over two connections exactly one wins', async () => {
      for (let round = 0; round < 3; round++) {
        const first = newRequest();
        const answers = await Promise.all(
          Array.from({ length: 50 }, (_, i) => (i % 2 ? store : second).claim(retryOf(first))),
        );
        expect(answers.filter((answer) => answer.claimed)).toHaveLength(1);
        const owner = (await found(store, first.id)).token;
        for (const answer of answers) {
          if (!answer.claimed && answer.record) expect(answer.record.token).toBe(owner);
        }
      }
    });

    it('G01 of 50 simultaneous claims on an orphan or on an expired row exactly one wins', async () => {
      const orphan = newRequest({ leaseMs: SHORT });
      await claimed(orphan);
      const old = newRequest();
      await completed(old, SHORT);
      await expire();
      for (const first of [orphan, old]) {
        const answers = await Promise.all(
          Array.from({ length: 50 }, (_, i) =>
            (i % 2 ? store : second).claim(retryOf(first, { leaseMs: LONG, takeOrphan: true })),
          ),
        );
        expect(answers.filter((answer) => answer.claimed)).toHaveLength(1);
        for (const answer of answers) {
          if (!answer.claimed && answer.record)
            expect(answer.record).toMatchObject({ state: 'running', response: null });
        }
      }
    });

    it('64 simultaneous claims and completions of different keys do not get in each other’s way', async () => {
      const requests = Array.from({ length: 64 }, () => newRequest());
      const use = async (request: ClaimRequest, i: number) => {
        const through = i % 2 ? store : second;
        const answer = await through.claim(request);
        return answer.claimed && (await through.complete(request.id, request.token, RESPONSE, LONG));
      };
      expect(await Promise.all(requests.map(use))).toEqual(requests.map(() => true));
    });

    it('G07 shows another payload the running record', async () => {
      const first = newRequest();
      await claimed(first);
      const other = retryOf(first, { fingerprint: hash('other') });
      expect(await refused(other)).toMatchObject({ state: 'running', fingerprint: first.fingerprint });
      expect((await found(store, first.id)).fingerprint).toBe(first.fingerprint);
    });
  });
}
