import { createHash, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type {
  ClaimRequest,
  ResultStore,
  StoredRecord,
  StoredResponse,
} from '../../lib/stores/result-store.js';
import { newAct, operatorTests } from './operator-suite.js';

export interface StoreUnderTest {
  readonly store: ResultStore;
  /** The same results through another connection, where the store has connections. */
  readonly second?: ResultStore;
  /** In how many places each row is, and is swept. */
  readonly copies?: number;
  readonly cleanup: () => Promise<unknown>;
}

const LONG = 60_000;
const SHORT = 30;

const RESPONSE: StoredResponse = {
  status: 201,
  headers: { 'content-type': 'application/json', location: '/refunds/1' },
  body: Buffer.from('{"refundId":"1"}'),
};

/** Every promise of `ResultStore`, for any store. `create` is called once; each test has ids of its own. */
export function describeStore(name: string, create: () => Promise<StoreUnderTest>): void {
  describe(`ResultStore: ${name}`, () => {
    let store: ResultStore;
    let second: ResultStore;
    let copies: number;
    let cleanup: () => Promise<unknown> = async () => undefined;

    beforeAll(async () => {
      const made = await create();
      ({ store, cleanup } = made);
      second = made.second ?? store;
      copies = made.copies ?? 1;
    });
    afterAll(() => cleanup());

    /** Lets a lease or a retention of `SHORT` run out. */
    const expire = () => sleep(SHORT + 20);

    async function claimed(request: ClaimRequest): Promise<{ attempt: number; fence: bigint }> {
      const answer = await store.claim(request);
      if (!answer.claimed) throw new Error(`not claimed: ${JSON.stringify(answer.record)}`);
      return answer;
    }

    async function refused(request: ClaimRequest): Promise<StoredRecord> {
      const answer = await store.claim(request);
      if (answer.claimed) throw new Error('claimed, though it should not be');
      if (!answer.record) throw new Error('refused without a record');
      return answer.record;
    }

    async function completed(request: ClaimRequest, retentionMs = LONG, response = RESPONSE): Promise<void> {
      await claimed(request);
      expect(await store.complete(request.id, request.token, response, retentionMs)).toBe(true);
    }

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
          leaseRemainingMs: expect.any(Number),
          response: null,
          createdAt: expect.any(Number),
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

    describe('complete', () => {
      it.each<[string, StoredResponse]>([
        ['JSON', RESPONSE],
        [
          'binary, all byte values',
          {
            status: 200,
            headers: { 'content-type': 'application/octet-stream' },
            body: Buffer.from(Array.from({ length: 512 }, (_, i) => i % 256)),
          },
        ],
        ['a view into a larger buffer', { ...RESPONSE, body: Buffer.from('xxhello').subarray(2) }],
        ['a Uint8Array', { ...RESPONSE, body: Uint8Array.of(0, 255, 39, 92, 10) }],
        ['an empty body', { status: 204, headers: {}, body: Buffer.alloc(0) }],
        ['no body', { status: 200, headers: { etag: '"1"' }, body: null }],
        ['a returned value', { status: null, headers: {}, body: Buffer.from('42') }],
        ['a large body', { ...RESPONSE, body: Buffer.alloc(1_500_000, 'äöü') }],
        [
          'several values of a header, quotes and more than ASCII',
          {
            status: 200,
            headers: {
              link: ['</a>; rel="next"', "</b>; rel='prev'"],
              'x-note': 'naïve \\ 😀 "quoted" \u0000',
            },
            body: Buffer.from('😀'),
          },
        ],
      ])('G22 gives back exactly what was stored: %s', async (_, response) => {
        const request = newRequest();
        await completed(request, LONG, response);
        for (const record of [await refused(retryOf(request)), await found(second, request.id)]) {
          expect(record.state).toBe('completed');
          expect(record.token).toBe(request.token);
          expect(record.leaseRemainingMs).toBe(0);
          expect(record.response?.status).toBe(response.status);
          expect(record.response?.headers).toEqual(response.headers);
          const body = record.response?.body;
          if (response.body === null) expect(body).toBeNull();
          else expect(Buffer.from(body!).equals(Buffer.from(response.body))).toBe(true);
          expect(body === null || body instanceof Uint8Array || ArrayBuffer.isView(body)).toBe(true);
        }
      });

      it('tells when it was completed and how long it stays', async () => {
        const request = newRequest();
        await completed(request, 12_345);
        const record = await found(store, request.id);
        expect(record.completedAt).toBeGreaterThanOrEqual(record.createdAt);
        expect(record.expiresAt! - record.completedAt!).toBe(12_345);
      });

      it('G10 by a former owner changes nothing', async () => {
        const former = newRequest({ leaseMs: SHORT });
        await claimed(former);
        await expire();
        const successor = retryOf(former, { leaseMs: LONG, takeOrphan: true });
        await claimed(successor);
        expect(await store.complete(former.id, former.token, RESPONSE, LONG)).toBe(false);
        expect(await found(store, former.id)).toMatchObject({
          state: 'running',
          token: successor.token,
          response: null,
        });
        await store.complete(successor.id, successor.token, { ...RESPONSE, status: 200 }, LONG);
        expect(await store.complete(former.id, former.token, RESPONSE, LONG)).toBe(false);
        expect((await found(store, former.id)).response?.status).toBe(200);
      });

      it('is accepted after the lease ran out, when nobody else has claimed since', async () => {
        const request = newRequest({ leaseMs: SHORT });
        await claimed(request);
        await expire();
        expect((await found(store, request.id)).leaseRemainingMs).toBe(0);
        expect(await store.complete(request.id, request.token, RESPONSE, LONG)).toBe(true);
        expect((await refused(retryOf(request, { takeOrphan: true }))).state).toBe('completed');
      });

      it('may be repeated', async () => {
        const request = newRequest();
        await completed(request);
        expect(await store.complete(request.id, request.token, RESPONSE, LONG)).toBe(true);
        expect(await second.complete(request.id, request.token, RESPONSE, LONG)).toBe(true);
        const { response } = await refused(retryOf(request));
        expect(Buffer.from(response!.body!).toString()).toBe('{"refundId":"1"}');
      });

      it('of an unknown or a released key is refused', async () => {
        expect(await store.complete(hash(randomUUID()), 'nobody', RESPONSE, LONG)).toBe(false);
        const request = newRequest();
        await claimed(request);
        await store.release(request.id, request.token, 'keep', LONG);
        expect(await store.complete(request.id, request.token, RESPONSE, LONG)).toBe(false);
      });
    });

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
        const first = newRequest({ leaseMs: SHORT });
        const { fence } = await claimed(first);
        expect((await refused(retryOf(first, { takeOrphan: true }))).token).toBe(first.token);
        await expire();
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
        expect(record.expiresAt! - record.completedAt!).toBe(LONG);
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
          await store.sweep(4 * copies),
          await second.sweep(4 * copies),
          await store.sweep(4 * copies),
        ];
        // A store that expires rows by itself has nothing to sweep.
        if (removed[0] !== 0) expect(removed).toEqual([4 * copies, 3 * copies, 0]);
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

    describe('identity', () => {
      it.each([
        ['emoji', '👩‍👩‍👧‍👦 rückerstattung 退款'],
        ['quotes and backslashes', `'; DROP TABLE x; -- \\' "\\\\" \`%_`],
        ['255 characters', 'k'.repeat(255)],
        ['255 emoji', '😀'.repeat(255)],
        ['trailing spaces', 'order-1  '],
        ['a NUL character', 'a\u0000b'],
        ['half of a surrogate pair', 'a\ud83dz'],
      ])('G43 a key may hold %s', async (what, key) => {
        const request = newRequest({ key, scope: 'Contrôleur.méthode 😀' });
        await completed(request);
        const record = await refused(retryOf(request));
        expect(record.state).toBe('completed');
        if (!/NUL|surrogate/.test(what)) expect(record.key).toBe(key);
        expect(record.scope).toBe('Contrôleur.méthode 😀');
      });

      it('G43 keys that differ in case or in trailing spaces, and long scopes, do not meet', async () => {
        const requests = ['order-a', 'ORDER-A', 'order-a ', 'order-a  ', ' order-a'].map((key) =>
          newRequest({ key, scope: `/${'path/'.repeat(1_640)}` }),
        );
        for (const request of requests) expect((await claimed(request)).attempt).toBe(1);
        for (const { id, key, scope } of requests)
          expect(await found(store, id)).toMatchObject({ key, scope });
      });

      it('G43 tokens that differ in case only are two', async () => {
        const request = newRequest({ token: 'aBcDeF' });
        await claimed(request);
        expect((await refused({ ...request, token: 'AbCdEf' })).token).toBe('aBcDeF');
        expect(await store.complete(request.id, 'ABCDEF', RESPONSE, LONG)).toBe(false);
        expect(await store.complete(request.id, 'aBcDeF', RESPONSE, LONG)).toBe(true);
      });
    });

    describe('operators', () => operatorTests(() => ({ store, second })));

    it('find knows nothing of a key nobody has used', async () => {
      expect(await store.find(hash(randomUUID()))).toBeNull();
    });

    it('takes durations of a fraction of a millisecond, and of a century', async () => {
      const request = newRequest({ leaseMs: 1_234.5, retentionMs: 0.5 });
      await claimed(request);
      expect(await store.renew([request], 2_345.6)).toEqual([true]);
      const centuryMs = 100 * 365 * 86_400_000;
      expect(await store.complete(request.id, request.token, RESPONSE, centuryMs)).toBe(true);
      expect((await found(store, request.id)).expiresAt).toBeGreaterThan(Date.now() + centuryMs - LONG);
    });

    it('watch, where there is one, wakes on completion and on release, until it is stopped', async () => {
      if (!store.watch) return;
      for (const settle of [
        (request: ClaimRequest) => second.complete(request.id, request.token, RESPONSE, LONG),
        (request: ClaimRequest) => second.release(request.id, request.token, 'keep', LONG),
        (request: ClaimRequest) => second.release(request.id, request.token, 'forget', LONG),
        async ({ id }: ClaimRequest) => (await second.act(newAct({ id, evenLive: true }))).done,
      ]) {
        const request = newRequest();
        await claimed(request);
        let wake!: () => void;
        const woken = new Promise<void>((resolve) => (wake = resolve));
        const stop = await store.watch(request.id, wake);
        expect(await settle(request)).toBe(true);
        await woken;
        stop();
      }
      const request = newRequest();
      await claimed(request);
      let wakes = 0;
      const stop = await store.watch(request.id, () => wakes++);
      stop();
      await second.complete(request.id, request.token, RESPONSE, LONG);
      await sleep(50);
      expect(wakes).toBe(0);
    });
  });
}

/** A first claim of a new key. */
export function newRequest(changes: Partial<ClaimRequest> = {}): ClaimRequest {
  return {
    id: hash(randomUUID()),
    scope: 'Refunds.create',
    key: 'order-1',
    fingerprint: hash('payload'),
    token: randomUUID(),
    leaseMs: LONG,
    retentionMs: LONG,
    takeOrphan: false,
    ...changes,
  };
}

/** Another call for the same key and, unless changed, with the same payload. */
export function retryOf(request: ClaimRequest, changes: Partial<ClaimRequest> = {}): ClaimRequest {
  return { ...request, token: randomUUID(), ...changes };
}

export async function found(store: ResultStore, id: string): Promise<StoredRecord> {
  const record = await store.find(id);
  if (!record) throw new Error('there is no record');
  return record;
}

export function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
