import { randomUUID } from 'node:crypto';
import type { TestRunner } from '../test-runner.js';
import { expect } from '../expect.js';
import { found, hash, LONG, newRequest, RESPONSE, retryOf, SHORT } from './requests.js';
import type { StoredResponse } from '../../stores/result-store.js';
import type { StoreSubject } from './subject.js';

/** What is stored is given back as it was, and only its owner stores it. */
export function completeTests({ describe, it }: TestRunner, subject: StoreSubject): void {
  const { store, second, expire, claimed, refused, completed } = subject;

  describe('complete', () => {
    {
      const cases: [string, StoredResponse][] = [
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
      ];
      for (const [what, response] of cases) {
        it(`G22 gives back exactly what was stored: ${what}`, async () => {
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
      }
    }

    it('tells when it was completed and how long it stays', async () => {
      const request = newRequest();
      await completed(request, 12_345);
      const record = await found(store, request.id);
      expect(record.completedAt).toBeGreaterThanOrEqual(record.createdAt);
      const kept = record.expiresAt! - record.completedAt!;
      // A clock may be looked at twice.
      expect(kept).toBeGreaterThanOrEqual(12_345);
      expect(kept).toBeLessThanOrEqual(12_345 + 100);
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
}
