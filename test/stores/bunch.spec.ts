import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import type { DataSource } from 'typeorm';
import { Bunch } from '../../lib/sql/bunch.js';
import { found, newRequest, retryOf } from '../support/store-suite.js';
import { openMigrated, POSTGRES, storeOf } from './typeorm-flavours.js';

const REFUSED = Object.assign(new Error('refused'), { code: '22P02' });
const BROKEN = new Error('Connection terminated');

/** As many turns of the event loop as anything here takes. */
async function turns(): Promise<void> {
  for (let n = 0; n < 10; n++) await turn();
}

/** A bunch that notes what it asks together, and answers when it is told to. */
function noting(answer: (question: number) => number = (question) => question * 2) {
  const asked: number[][] = [];
  const waiting: (() => void)[] = [];
  const bunch = new Bunch<number, number>(
    async (questions) => {
      asked.push([...questions]);
      await new Promise<void>((resolve) => waiting.push(resolve));
      return questions.map(answer);
    },
    (error) => error === REFUSED,
  );
  return { bunch, asked, answerNext: () => waiting.shift()!(), waiting };
}

describe('a bunch', () => {
  it('asks at once what is asked in one turn, and gives each its own answer', async () => {
    const { bunch, asked, answerNext } = noting();
    const answers = Promise.all([1, 2, 3].map((question) => bunch.ask(question)));
    expect(asked).toEqual([]);
    await turns();
    expect(asked).toEqual([[1, 2, 3]]);
    answerNext();
    expect(await answers).toEqual([2, 4, 6]);
  });

  it('has five statements under way at most; what comes meanwhile goes together with the next', async () => {
    const { bunch, asked, answerNext, waiting } = noting();
    const answers: Promise<number>[] = [];
    for (let question = 1; question <= 8; question++) {
      answers.push(bunch.ask(question));
      await turns();
    }
    expect(asked).toEqual([[1], [2], [3], [4], [5]]);
    answerNext();
    await turns();
    expect(asked.at(-1)).toEqual([6, 7, 8]);
    while (waiting.length) answerNext();
    expect(await Promise.all(answers)).toEqual([2, 4, 6, 8, 10, 12, 14, 16]);
  });

  it('asks at most a hundred together', async () => {
    const { bunch, asked, answerNext, waiting } = noting();
    const answers = Promise.all(Array.from({ length: 250 }, (_, question) => bunch.ask(question)));
    await turns();
    expect(asked.map(({ length }) => length)).toEqual([100, 100, 50]);
    while (waiting.length) answerNext();
    expect(await answers).toHaveLength(250);
  });

  it('asks each alone when the whole is refused, so that one fails for itself only', async () => {
    const asked: number[][] = [];
    const bunch = new Bunch<number, number>(
      async (questions) => {
        asked.push([...questions]);
        if (questions.includes(2)) throw REFUSED;
        return questions;
      },
      (error) => error === REFUSED,
    );
    const outcomes = await Promise.allSettled([1, 2, 3].map((question) => bunch.ask(question)));
    expect(outcomes).toEqual([
      { status: 'fulfilled', value: 1 },
      { status: 'rejected', reason: REFUSED },
      { status: 'fulfilled', value: 3 },
    ]);
    expect(asked).toEqual([[1, 2, 3], [1], [2], [3]]);
  });

  it('repeats nothing when nobody knows what became of it, and goes on afterwards', async () => {
    let calls = 0;
    const bunch = new Bunch<number, number>(
      async (questions) => {
        if (++calls === 1) throw BROKEN;
        return questions;
      },
      (error) => error === REFUSED,
    );
    const outcomes = await Promise.allSettled([1, 2].map((question) => bunch.ask(question)));
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(calls).toBe(1);
    expect(await bunch.ask(3)).toBe(3);
  });
});

describe('PostgreSQL, asked in bunches', () => {
  let dataSource: DataSource;
  let statements: string[];

  beforeAll(async () => {
    dataSource = await openMigrated(await POSTGRES.create());
    const pool = (dataSource.driver as unknown as { master: { query: (text: string) => unknown } }).master;
    const query = pool.query.bind(pool);
    pool.query = (text: string, ...rest: unknown[]) => {
      statements.push(text.trim().split(' ')[0]!);
      return (query as (...all: unknown[]) => unknown)(text, ...rest);
    };
  });
  beforeEach(() => (statements = []));
  afterAll(() => dataSource.destroy());

  it('tells each call what became of its own key', async () => {
    const store = storeOf(POSTGRES, dataSource);
    const [fresh, running, done, own] = [newRequest(), newRequest(), newRequest(), newRequest()];
    const response = { status: 201, headers: {}, body: Buffer.from('done') };
    for (const request of [running, done, own]) await store.claim(request);
    await store.complete(done.id, done.token, response, 60_000);
    statements = [];

    const answers = await Promise.all(
      [fresh, retryOf(running), retryOf(done), own].map((request) => store.claim(request)),
    );
    expect(answers).toMatchObject([
      { claimed: true, attempt: 1 },
      { claimed: false, record: { id: running.id, state: 'running' } },
      { claimed: false, record: { id: done.id, state: 'completed', response } },
      { claimed: true, attempt: 1 },
    ]);
    // All inserts and all reads together, and the one that was sent again once more.
    expect(statements).toEqual(['INSERT', 'SELECT', 'WITH']);
  });

  it('completes together, each by its own token and with its own answer', async () => {
    const store = storeOf(POSTGRES, dataSource);
    const requests = Array.from({ length: 20 }, () => newRequest());
    await Promise.all(requests.map((request) => store.claim(request)));
    statements = [];

    const bodies = requests.map((_, n) =>
      n === 7
        ? null
        : Buffer.from([0, 255, 34, 44, 92, 123, n, ...(n === 8 ? new Array<number>(20_000) : [])]),
    );
    const outcomes = await Promise.all(
      requests.map(({ id, token }, n) => {
        const headers = { 'x-name': `"{},\\ ${n}` };
        const owner = n === 9 ? newRequest().token : token;
        return store.complete(
          id,
          owner,
          { status: n === 6 ? null : 200 + n, headers, body: bodies[n]! },
          60_000,
        );
      }),
    );
    expect(outcomes).toEqual(requests.map((_, n) => n !== 9));
    // A large body goes alone.
    expect(statements).toEqual(['UPDATE', 'UPDATE']);
    for (const [n, { id }] of requests.entries()) {
      const { state, response } = await found(store, id);
      const seen = response && { ...response, body: response.body && Buffer.from(response.body) };
      const status = n === 6 ? null : 200 + n;
      const stored = { status, headers: { 'x-name': `"{},\\ ${n}` }, body: bodies[n] };
      expect([state, seen]).toEqual(n === 9 ? ['running', null] : ['completed', stored]);
    }
  });

  it('a row that somebody keeps locked holds up neither other keys nor the answer about its own', async () => {
    const store = storeOf(POSTGRES, dataSource);
    const [stuck, other] = [newRequest(), newRequest()];
    await store.claim(stuck);
    const runner = dataSource.createQueryRunner();
    await runner.startTransaction();
    try {
      // As a process does that is stopped between the last statement of its transaction and the commit.
      await runner.query(`UPDATE idempotency_record SET state = 'completed' WHERE id = $1`, [stuck.id]);
      const claims = [retryOf(stuck), other].map((request) => store.claim(request));
      const late = sleep(2_000).then(() => 'nobody answered');
      expect(await Promise.race([Promise.all(claims), late])).toMatchObject([
        { claimed: false, record: { state: 'running' } },
        { claimed: true, attempt: 1 },
      ]);
    } finally {
      await runner.rollbackTransaction();
      await runner.release();
    }
  });

  it('is never the victim of another process that claims the same keys in another order', async () => {
    const other = await openMigrated({ ...dataSource.options });
    try {
      const [here, there] = [storeOf(POSTGRES, dataSource), storeOf(POSTGRES, other)];
      for (let round = 0; round < 20; round++) {
        const requests = Array.from({ length: 50 }, () => newRequest());
        const answers = await Promise.all([
          ...requests.map((request) => here.claim(request)),
          ...requests.toReversed().map((request) => there.claim(retryOf(request))),
        ]);
        expect(answers.filter(({ claimed }) => claimed)).toHaveLength(50);
      }
      const [{ deadlocks }] = await dataSource.query(
        'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()',
      );
      expect(Number(deadlocks)).toBe(0);
    } finally {
      await other.destroy();
    }
  });
});
