import { setTimeout as sleep } from 'node:timers/promises';
import type { TestRunner } from '../test-runner.js';
import { ANY_NUMBER, expect } from '../expect.js';
import { found, LONG, newAct, newRequest, RESPONSE, retryOf } from './requests.js';
import type { StoredResponse } from '../../stores/result-store.js';
import type { StoreSubject } from './subject.js';

/** What operators do to records, and what is noted of it. */
export function actTests({ describe, it }: TestRunner, subject: StoreSubject): void {
  const { store, second, make } = subject;

  describe('act', () => {
    for (const kind of ['uncertain', 'stuck'] as const) {
      it(`G51 frees a record that is ${kind}, and its owner owns nothing`, async () => {
        const request = await make[kind]();
        const { id, token } = request;
        expect(await second.act(newAct({ id, retentionMs: 12_345 }))).toEqual({ done: true });
        const record = await found(store, id);
        expect(record).toMatchObject({
          state: 'running',
          token: null,
          attempt: 1,
          leaseRemainingMs: 0,
          response: null,
        });
        expect(record.expiresAt! - Date.now()).toBeLessThanOrEqual(13_000);
        expect(await store.complete(id, token, RESPONSE, LONG)).toBe(false);
        expect(await store.renew([request], LONG)).toEqual([false]);
        expect(await store.release(id, token, 'forget', LONG)).toBe(false);
        expect(await store.markUncertain(id, token)).toBe(false);
        const heir = retryOf(request);
        expect(await store.claim(heir)).toMatchObject({ claimed: true, attempt: 2 });
        expect(await store.complete(id, token, RESPONSE, LONG)).toBe(false);
        expect(await found(store, id)).toMatchObject({ state: 'running', token: heir.token });
      });
    }

    for (const kind of ['uncertain', 'stuck', 'free'] as const) {
      it(`G51 answers a record that is ${kind}`, async () => {
        const request = await make[kind]();
        const act = newAct({ id: request.id, response: RESPONSE, retentionMs: 12_345 });
        expect(await second.act(act)).toEqual({ done: true });
        const answer = await store.claim(retryOf(request));
        const record = answer.claimed ? null : answer.record;
        expect(record).toMatchObject({
          state: 'completed',
          token: act.actId,
          attempt: 1,
          fingerprint: request.fingerprint,
        });
        const kept = record!.expiresAt! - record!.completedAt!;
        // A clock may be looked at twice.
        expect(kept).toBeGreaterThanOrEqual(12_345);
        expect(kept).toBeLessThanOrEqual(12_345 + 100);
        expect(record!.response).toMatchObject({ status: 201, headers: RESPONSE.headers });
        expect(Buffer.from(record!.response!.body!).toString()).toBe('{"refundId":"1"}');
        expect(await store.complete(request.id, request.token, { ...RESPONSE, status: 200 }, LONG)).toBe(
          false,
        );
        expect((await found(store, request.id)).response?.status).toBe(201);
      });
    }

    {
      const cases: [string, Partial<StoredResponse>][] = [
        ['a returned value', { status: null, body: Buffer.from([0, 255, 39]) }],
        ['no body', { body: null }],
        ['an empty body', { status: 204, body: Buffer.alloc(0) }],
      ];
      for (const [what, changes] of cases) {
        it(`answers with ${what}`, async () => {
          const { id } = await make.uncertain();
          const response = { ...RESPONSE, ...changes };
          expect(await store.act(newAct({ id, response }))).toEqual({ done: true });
          const stored = (await found(second, id)).response!;
          expect(stored.status).toBe(response.status);
          expect(stored.body && Buffer.from(stored.body)).toEqual(response.body);
        });
      }
    }

    it('keeps the recovery points of a record that it frees', async () => {
      if (!store.steps) return;
      const request = await make.live();
      const { id, token } = request;
      const step = { name: 'charge', position: 0, result: '{"value":1}' };
      expect(await store.steps.record(id, token, step)).toBe(true);
      await store.markUncertain(id, token);
      expect(await second.act(newAct({ id }))).toEqual({ done: true });
      expect((await store.claim(retryOf(request))).claimed).toBe(true);
      expect(await store.steps.list(id)).toMatchObject([step]);
    });

    it('takes a live record from its owner only when told so', async () => {
      const request = await make.live();
      const { id, token } = request;
      for (const response of [null, RESPONSE]) {
        expect(await store.act(newAct({ id, response }))).toMatchObject({
          done: false,
          record: { state: 'running', token, leaseRemainingMs: ANY_NUMBER },
        });
      }
      expect(await store.renew([request], LONG)).toEqual([true]);
      expect(await store.act(newAct({ id, evenLive: true }))).toEqual({ done: true });
      expect(await store.complete(id, token, RESPONSE, LONG)).toBe(false);
      expect(await store.claim(retryOf(request))).toMatchObject({ claimed: true, attempt: 2 });
    });

    it('G10 never touches what is completed, what is free already, or what is not there', async () => {
      const { id } = await make.completed();
      for (const response of [null, { ...RESPONSE, status: 200 }]) {
        expect(await store.act(newAct({ id, response, evenLive: true }))).toMatchObject({
          done: false,
          record: { state: 'completed', response: { status: 201 } },
        });
      }
      const free = await make.free();
      expect(await store.act(newAct({ id: free.id, evenLive: true }))).toMatchObject({
        done: false,
        record: { state: 'running', token: null },
      });
      const forgotten = await make.live();
      await store.release(forgotten.id, forgotten.token, 'forget', LONG);
      for (const gone of [forgotten.id, newRequest().id]) {
        for (const response of [null, RESPONSE]) {
          expect(await store.act(newAct({ id: gone, response, evenLive: true }))).toEqual({
            done: false,
            record: null,
          });
        }
        expect(await store.find(gone)).toBeNull();
      }
      for (const record of [id, free.id, forgotten.id]) expect(await store.audit(record)).toEqual([]);
    });

    it('meant for an uncertain record it touches neither another owner’s nor one that is not uncertain', async () => {
      const { id, token } = await make.uncertain();
      expect(await store.act(newAct({ id, uncertainToken: 'other' }))).toMatchObject({ done: false });
      expect(await store.act(newAct({ id, uncertainToken: token }))).toEqual({ done: true });
      expect(await store.act(newAct({ id, uncertainToken: token, response: RESPONSE }))).toMatchObject({
        done: false,
      });
      const stuck = await make.stuck();
      expect(await store.act(newAct({ id: stuck.id, uncertainToken: stuck.token }))).toMatchObject({
        done: false,
      });
      expect(await store.audit(stuck.id)).toEqual([]);
    });

    it('of operators and an owner at once exactly one settles it, and the audit tells which', async () => {
      for (let round = 0; round < 6; round++) {
        const request = await (round % 2 ? make.uncertain() : make.live());
        const { id, token } = request;
        const acts = Array.from({ length: 6 }, (_, i) =>
          newAct({ id, evenLive: true, response: i % 2 ? { ...RESPONSE, status: 210 + i } : null }),
        );
        const [isCompleted, ...answers] = await Promise.all([
          store.complete(id, token, RESPONSE, LONG),
          ...acts.map((act, i) => (i % 3 ? store : second).act(act)),
        ]);
        const record = await found(store, id);
        const audit = await store.audit(id);
        expect(audit.map(({ actId }) => actId).sort()).toEqual(
          acts
            .filter((_, i) => answers[i]!.done)
            .map(({ actId }) => actId)
            .sort(),
        );
        // What is free may be answered after all, what is answered stays.
        expect(audit.filter(({ act }) => act === 'answer').length + Number(isCompleted)).toBeLessThanOrEqual(
          1,
        );
        expect(audit.filter(({ act }) => act === 'free').length).toBeLessThanOrEqual(1);
        expect(audit.length + Number(isCompleted)).toBeGreaterThan(0);
        const winner = acts.find((act, i) => act.response && answers[i]!.done);
        if (isCompleted)
          expect(record).toMatchObject({ state: 'completed', token, response: { status: 201 } });
        else if (winner)
          expect(record).toMatchObject({
            token: winner.actId,
            response: { status: winner.response!.status },
          });
        else expect(record).toMatchObject({ state: 'running', token: null });
      }
    });

    it('and a renewal at once: either it was renewed, or its owner knows', async () => {
      for (let round = 0; round < 6; round++) {
        const request = await make.stuck({ leaseMs: 1 });
        const [[isRenewed], { done }] = await Promise.all([
          store.renew([request], LONG),
          second.act(newAct({ id: request.id })),
        ]);
        // Renewed first: the act is refused. Freed first: the renewal is.
        expect(done).toBe(!isRenewed);
        expect((await found(store, request.id)).token).toBe(isRenewed ? request.token : null);
      }
    });

    it('notes who did what to which record, and why', async () => {
      const request = await make.stuck({ scope: 'Contrôleur.méthode 😀', key: `'; DROP TABLE x; -- "` });
      const { id } = request;
      const before = Date.now();
      const freed = newAct({ id });
      await store.act(freed);
      const heir = retryOf(request);
      await store.claim(heir);
      await store.markUncertain(id, heir.token);
      await sleep(2);
      const answered = newAct({ id, response: RESPONSE, by: 'reconcile' });
      await second.act(answered);
      const about = { id, scope: request.scope, key: request.key, at: ANY_NUMBER };
      const audit = await second.audit(id);
      expect(audit).toEqual([
        {
          ...about,
          actId: freed.actId,
          act: 'free',
          by: freed.by,
          reason: freed.reason,
          state: 'running',
          attempt: 1,
        },
        {
          ...about,
          actId: answered.actId,
          act: 'answer',
          by: 'reconcile',
          reason: answered.reason,
          state: 'uncertain',
          attempt: 2,
        },
      ]);
      expect(Math.abs(audit[0]!.at - before)).toBeLessThan(10_000);
      await store.sweep(1_000);
      expect(await store.audit(id)).toEqual(audit);
    });
  });
}
