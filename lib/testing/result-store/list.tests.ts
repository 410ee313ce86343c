import { setTimeout as sleep } from 'node:timers/promises';
import { randomUUID } from 'node:crypto';
import type { TestRunner } from '../test-runner.js';
import { expect, expectRejection } from '../expect.js';
import { found, LONG, newAct, newRequest, RESPONSE, retryOf } from './requests.js';
import type { ClaimRequest } from '../../stores/result-store.js';
import type { ListedRecord, ListQuery } from '../../stores/act.js';
import type { StoreSubject } from './subject.js';

/** What operators see, and who works on what. */
export function listTests({ describe, it }: TestRunner, subject: StoreSubject): void {
  const { store, second, make } = subject;

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
      expect(ids(await listed({ state: 'uncertain', olderThanMs: 0 }))).toContainAll(ids(uncertain));
      const [record] = await listed({ scope, state: 'completed' });
      const { response: _, ...rest } = await found(store, record!.id);
      expect(record).toEqual(rest);
    });

    it('refuses a cursor that is none', async () => {
      for (const cursor of ['', 'nonsense', Buffer.from('[1]').toString('base64url')]) {
        await expectRejection(second.list({ limit: 5, cursor }), 'it must be that of the page before');
      }
    });
  });
}
