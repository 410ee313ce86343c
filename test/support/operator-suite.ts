import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Act, ListedRecord, ListQuery } from '../../lib/stores/act.js';
import type { ClaimRequest, ResultStore, StoredResponse } from '../../lib/stores/result-store.js';
import { found, newRequest, retryOf } from './store-suite.js';

const LONG = 60_000;
const SHORT = 30;
const RESPONSE: StoredResponse = {
  status: 201,
  headers: { 'content-type': 'application/json', link: ['</a>', '</b>'] },
  body: Buffer.from('{"refundId":"1"}'),
};

/** An act that frees the key of an uncertain or stuck record. */
export function newAct(changes: Partial<Act> & Pick<Act, 'id'>): Act {
  return {
    actId: randomUUID(),
    response: null,
    evenLive: false,
    retentionMs: LONG,
    by: 'Änne 😀',
    reason: `the bank's log says "no", see \\\\ticket 17`,
    ...changes,
  };
}

/** What `ResultStore` promises to operators. */
export function operatorTests(stores: () => { store: ResultStore; second: ResultStore }): void {
  let store: ResultStore;
  let second: ResultStore;
  beforeAll(() => {
    ({ store, second } = stores());
  });

  /** A record in each of the states an act may meet. */
  const make = {
    live: async (changes: Partial<ClaimRequest> = {}) => {
      const request = newRequest(changes);
      expect((await store.claim(request)).claimed).toBe(true);
      return request;
    },
    stuck: async (changes: Partial<ClaimRequest> = {}) => {
      const request = await make.live({ leaseMs: SHORT, ...changes });
      await sleep(SHORT + 20);
      return request;
    },
    uncertain: async (changes: Partial<ClaimRequest> = {}) => {
      const request = await make.live(changes);
      expect(await store.markUncertain(request.id, request.token)).toBe(true);
      return request;
    },
    free: async (changes: Partial<ClaimRequest> = {}) => {
      const request = await make.live(changes);
      expect(await store.release(request.id, request.token, 'keep', LONG)).toBe(true);
      return request;
    },
    completed: async (changes: Partial<ClaimRequest> = {}) => {
      const request = await make.live(changes);
      expect(await store.complete(request.id, request.token, RESPONSE, LONG)).toBe(true);
      return request;
    },
  };

  describe('act', () => {
    it.each(['uncertain', 'stuck'] as const)(
      'G51 frees a record that is %s, and its owner owns nothing',
      async (kind) => {
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
      },
    );

    it.each(['uncertain', 'stuck', 'free'] as const)('G51 answers a record that is %s', async (kind) => {
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
      expect(record!.expiresAt! - record!.completedAt!).toBe(12_345);
      expect(record!.response).toMatchObject({ status: 201, headers: RESPONSE.headers });
      expect(Buffer.from(record!.response!.body!).toString()).toBe('{"refundId":"1"}');
      expect(await store.complete(request.id, request.token, { ...RESPONSE, status: 200 }, LONG)).toBe(false);
      expect((await found(store, request.id)).response?.status).toBe(201);
    });

    it.each<[string, Partial<StoredResponse>]>([
      ['a returned value', { status: null, body: Buffer.from([0, 255, 39]) }],
      ['no body', { body: null }],
      ['an empty body', { status: 204, body: Buffer.alloc(0) }],
    ])('answers with %s', async (_, changes) => {
      const { id } = await make.uncertain();
      const response = { ...RESPONSE, ...changes };
      expect(await store.act(newAct({ id, response }))).toEqual({ done: true });
      const stored = (await found(second, id)).response!;
      expect(stored.status).toBe(response.status);
      expect(stored.body && Buffer.from(stored.body)).toEqual(response.body);
    });

    it('keeps the recovery points of a record that it frees', async () => {
      const request = await make.live();
      const { id, token } = request;
      const step = { name: 'charge', position: 0, result: '{"value":1}' };
      expect(await store.steps!.record(id, token, step)).toBe(true);
      await store.markUncertain(id, token);
      expect(await second.act(newAct({ id }))).toEqual({ done: true });
      expect((await store.claim(retryOf(request))).claimed).toBe(true);
      expect(await store.steps!.list(id)).toMatchObject([step]);
    });

    it('takes a live record from its owner only when told so', async () => {
      const request = await make.live();
      const { id, token } = request;
      for (const response of [null, RESPONSE]) {
        expect(await store.act(newAct({ id, response }))).toMatchObject({
          done: false,
          record: { state: 'running', token, leaseRemainingMs: expect.any(Number) },
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
      const about = { id, scope: request.scope, key: request.key, at: expect.any(Number) };
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

  describe('reserve', () => {
    it('gives an uncertain record to one at a time, for a while', async () => {
      const { id, token } = await make.uncertain();
      const answers = await Promise.all(
        Array.from({ length: 10 }, (_, i) => (i % 2 ? store : second).reserve(id, token, 1_000)),
      );
      expect(answers.filter((mine) => mine)).toHaveLength(1);
      while (!(await second.reserve(id, token, LONG))) await sleep(50);
      expect(await store.reserve(id, token, LONG)).toBe(false);
      expect(await found(store, id)).toMatchObject({ state: 'uncertain', leaseRemainingMs: 0, token });
      // It is in nobody's way, and over with the outcome.
      expect(await store.act(newAct({ id }))).toEqual({ done: true });
      const heir = retryOf(newRequest({ id }));
      expect((await store.claim(heir)).claimed).toBe(true);
      await store.markUncertain(id, heir.token);
      expect(await store.reserve(id, heir.token, LONG)).toBe(true);
    });

    it('gives nothing else', async () => {
      const { id } = await make.uncertain();
      expect(await store.reserve(id, 'other', LONG)).toBe(false);
      for (const kind of ['live', 'stuck', 'free', 'completed'] as const) {
        const request = await make[kind]();
        expect(await store.reserve(request.id, request.token, LONG)).toBe(false);
        expect((await found(store, request.id)).state).toBe(kind === 'completed' ? 'completed' : 'running');
      }
      expect(await store.reserve(newRequest().id, 'nobody', LONG)).toBe(false);
    });
  });

  describe('list', () => {
    /** All pages. */
    async function listed(query: Omit<ListQuery, 'limit'>, limit = 2): Promise<ListedRecord[]> {
      const records: ListedRecord[] = [];
      let cursor: string | undefined;
      for (;;) {
        const page = await second.list({ ...query, limit, ...(cursor === undefined ? {} : { cursor }) });
        expect(page.records.length).toBeLessThanOrEqual(limit);
        records.push(...page.records);
        if (page.cursor === null) return records;
        cursor = page.cursor;
      }
    }
    const ids = (records: readonly { id: string }[]) => records.map(({ id }) => id).sort();

    it('shows every record of a scope once, by state, without answers and page by page', async () => {
      const scope = `Refunds ${randomUUID()}`;
      const kinds = ['live', 'stuck', 'uncertain', 'free', 'completed'] as const;
      const made: Record<string, ClaimRequest[]> = {};
      for (const kind of kinds) {
        made[kind] = [await make[kind]({ scope }), await make[kind]({ scope }), await make[kind]({ scope })];
      }
      const gone = await make.live({ scope });
      await store.complete(gone.id, gone.token, RESPONSE, 1);
      await sleep(5);
      expect(ids(await listed({ scope }))).toEqual(ids(Object.values(made).flat()));
      const { live, stuck, free, uncertain, completed } = made as Record<
        (typeof kinds)[number],
        ClaimRequest[]
      >;
      expect(ids(await listed({ scope, state: 'running' }))).toEqual(ids([...live, ...stuck, ...free]));
      expect(ids(await listed({ scope, state: 'stuck' }))).toEqual(ids(stuck));
      expect(ids(await listed({ scope, state: 'uncertain' }))).toEqual(ids(uncertain));
      expect(ids(await listed({ scope, state: 'completed' }))).toEqual(ids(completed));
      expect(ids(await listed({ scope, state: 'completed' }, 1_000))).toEqual(ids(completed));
      expect(await listed({ scope: `${scope}!` })).toEqual([]);
      expect(await listed({ scope, olderThanMs: LONG })).toEqual([]);
      expect(ids(await listed({ state: 'uncertain', olderThanMs: 0 }))).toEqual(
        expect.arrayContaining(ids(uncertain)),
      );
      const [record] = await listed({ scope, state: 'completed' });
      const { response: _, ...rest } = await found(store, record!.id);
      expect(record).toEqual(rest);
    });

    it('refuses a cursor that is none', async () => {
      for (const cursor of ['', 'nonsense', Buffer.from('[1]').toString('base64url')]) {
        await expect(second.list({ limit: 5, cursor })).rejects.toThrow('it must be that of the page before');
      }
    });
  });
}
