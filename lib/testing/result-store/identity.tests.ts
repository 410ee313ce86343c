import { setTimeout as sleep } from 'node:timers/promises';
import { randomUUID } from 'node:crypto';
import type { TestRunner } from '../test-runner.js';
import { expect } from '../expect.js';
import { found, hash, LONG, newAct, newRequest, RESPONSE, retryOf } from './requests.js';
import type { ClaimRequest } from '../../stores/result-store.js';
import type { StoreSubject } from './subject.js';

/** Keys of every kind, durations of every length, and wake-ups. */
export function identityTests({ describe, it }: TestRunner, subject: StoreSubject): void {
  const { store, second, claimed, refused, completed } = subject;

  describe('identity', () => {
    for (const [what, key] of [
      ['emoji', '👩‍👩‍👧‍👦 rückerstattung 退款'],
      ['quotes and backslashes', `'; DROP TABLE x; -- \\' "\\\\" \`%_`],
      ['255 characters', 'k'.repeat(255)],
      ['255 emoji', '😀'.repeat(255)],
      ['trailing spaces', 'order-1  '],
      ['a NUL character', 'a\u0000b'],
      ['half of a surrogate pair', 'a\ud83dz'],
    ] as const) {
      it(`G43 a key may hold ${what}`, async () => {
        const request = newRequest({ key, scope: 'Contrôleur.méthode 😀' });
        await completed(request);
        const record = await refused(retryOf(request));
        expect(record.state).toBe('completed');
        if (!/NUL|surrogate/.test(what)) expect(record.key).toBe(key);
        expect(record.scope).toBe('Contrôleur.méthode 😀');
      });
    }

    it('G43 keys that differ in case or in trailing spaces, and long scopes, do not meet', async () => {
      const requests = ['order-a', 'ORDER-A', 'order-a ', 'order-a  ', ' order-a'].map((key) =>
        newRequest({ key, scope: `/${'path/'.repeat(1_640)}` }),
      );
      for (const request of requests) expect((await claimed(request)).attempt).toBe(1);
      for (const { id, key, scope } of requests) expect(await found(store, id)).toMatchObject({ key, scope });
    });

    it('G43 tokens that differ in case only are two', async () => {
      const request = newRequest({ token: 'aBcDeF' });
      await claimed(request);
      expect((await refused({ ...request, token: 'AbCdEf' })).token).toBe('aBcDeF');
      expect(await store.complete(request.id, 'ABCDEF', RESPONSE, LONG)).toBe(false);
      expect(await store.complete(request.id, 'aBcDeF', RESPONSE, LONG)).toBe(true);
    });
  });

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
    ] as const) {
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
}
