import { setTimeout as sleep } from 'node:timers/promises';
import { randomUUID } from 'node:crypto';
import { IdempotencyService, memoryStore } from 'nestjs-idempotent';
import { MARIADB, POSTGRES, SQLITE } from '../stores/typeorm-flavours.js';
import { expectProblem, Gate, startApp } from '../support/http-app.js';
import { eventually } from '../support/eventually.js';
import { startProxy } from '../support/proxy.js';
import { Bank, pay, type Work } from './transactional-app.js';

let key: string;
beforeEach(() => (key = `k-${randomUUID()}`));

describe.each([POSTGRES, MARIADB])('$name', (flavour) => {
  let bank: Bank;
  beforeAll(async () => {
    bank = await Bank.open(flavour);
    await bank.witness.query(`INSERT INTO counter (name, n) VALUES ('a', 0), ('b', 0)`);
  });
  afterAll(() => bank.close());

  const add = (name: string) => `UPDATE counter SET n = n + 1 WHERE name = '${name}'`;
  const counters = () =>
    bank.witness
      .query<{ n: number }[]>('SELECT n FROM counter ORDER BY name')
      .then((rows) => rows.map(({ n }) => n));

  it('the victim of a deadlock is run again whole, in the same attempt', async () => {
    const before = await counters();
    const met = new Gate();
    let inside = 0;
    let runs = 0;
    const work: Work = async (ctx) => {
      runs++;
      const [first, second] = ctx.key!.endsWith('1') ? (['a', 'b'] as const) : (['b', 'a'] as const);
      await pay(ctx);
      await ctx.manager.query(add(first));
      if (++inside === 2) met.open();
      await met.opened;
      await ctx.manager.query(add(second));
      return { attempt: ctx.attempt };
    };
    const app = await bank.app(work);
    const keys = [`${key}-1`, `${key}-2`];
    const answers = await Promise.all(keys.map((each) => app.post('/pay', each, {})));
    expect(answers.map(({ status, json }) => [status, json])).toEqual([
      [201, { attempt: 1 }],
      [201, { attempt: 1 }],
    ]);
    expect(runs).toBe(3);
    expect(await counters()).toEqual(before.map((n) => n + 2));
    for (const each of keys) expect(await bank.payers(each)).toEqual(['p']);
  });

  it('a deadlock the handler does not let through is no success', async () => {
    const met = new Gate();
    let inside = 0;
    const work: Work = async (ctx) => {
      const [first, second] = ctx.key!.endsWith('1') ? (['a', 'b'] as const) : (['b', 'a'] as const);
      await pay(ctx);
      await ctx.manager.query(add(first));
      if (++inside === 2) met.open();
      await met.opened;
      await ctx.manager.query(add(second)).catch(() => undefined);
      await pay(ctx, 'after').catch(() => undefined);
      return 'paid';
    };
    const app = await bank.app(work);
    const keys = [`${key}-1`, `${key}-2`];
    const answers = await Promise.all(keys.map((each) => app.post('/pay', each, {})));
    const victim = answers.findIndex(({ status }) => status !== 201);
    expectProblem(answers[victim]!, 503, 'transaction-conflict');
    expect(await bank.payers(keys[victim]!)).toEqual([]);
    expect(await bank.payers(keys[1 - victim]!)).toEqual(['after', 'p']);
    expect((await app.post('/pay', keys[victim]!, {})).status).toBe(201);
    expect(await bank.payers(keys[victim]!)).toEqual(['after', 'p']);
  });

  it('serialization failures are run again until all have counted', async () => {
    await bank.witness.query(`DELETE FROM counter WHERE name = 'c'`);
    await bank.witness.query(`INSERT INTO counter (name, n) VALUES ('c', 0)`);
    const app = await bank.app(() => undefined);
    const service = app.app.get(IdempotencyService);
    const transactional = { isolation: 'SERIALIZABLE', retries: 50 } as const;
    const count = (n: number) =>
      service.run({ scope: 'count', key: `${key}-${n}`, transactional }, async ({ manager, attempt }) => {
        const [row] = await manager.query<{ n: number }[]>(`SELECT n FROM counter WHERE name = 'c'`);
        await manager.query(`UPDATE counter SET n = ${row!.n + 1} WHERE name = 'c'`);
        return attempt;
      });
    const results = await Promise.all(Array.from({ length: 6 }, (_, n) => count(n)));
    expect(results.map(({ value }) => value)).toEqual([1, 1, 1, 1, 1, 1]);
    expect(await bank.witness.query(`SELECT n FROM counter WHERE name = 'c'`)).toEqual([{ n: 6 }]);
  });

  it('G10 G15 the token decides at the commit, whatever the owner believes', async () => {
    const app = await bank.app(async (ctx) => {
      await pay(ctx);
      await bank.witness.query(
        `UPDATE idempotency_record SET token = 'successor', attempt = 2 WHERE token IS NOT NULL AND state = 'running'`,
      );
      ctx.assertHeld();
      return 'paid';
    });
    expectProblem(await app.post('/pay', key, {}), 409, 'lease-lost');
    expect(await bank.payers(key)).toEqual([]);
    expect(app.counters.lostLeases).toBe(1);
  });

  it('is run again so often and no more', async () => {
    let runs = 0;
    const work: Work = async (ctx) => {
      runs++;
      await ctx.manager.query(add('a'));
      throw Object.assign(new Error('gave way'), { code: '40001', errno: 1213 });
    };
    const app = await bank.app(work, { transactional: { retries: 2 } });
    expect((await app.post('/pay', key, {})).status).toBe(500);
    expect(runs).toBe(3);
  });

  it('a commit whose reply is lost: the record tells that it was executed', async () => {
    const { url } = bank.options as { url: string };
    const proxy = await startProxy(Number(new URL(url).port));
    let commits = 0;
    const work: Work = async (ctx) => {
      await pay(ctx, `run ${++commits}`);
      proxy.cutReply({ matching: 'COMMIT' });
      return 'paid';
    };
    const app = await bank.app(work, {}, { sql: { url: proxy.url(url) } });
    const answer = await app.post('/pay', key, {});
    expect([answer.status, answer.text, proxy.cuts]).toEqual([201, 'paid', 1]);
    expect(await bank.payers(key)).toEqual(['run 1']);
    expect((await app.post('/pay', key, {})).headers.get('idempotent-replayed')).toBe('true');
    await proxy.close();
  });

  it('a commit that never arrived: nothing was done, and the next attempt does it', async () => {
    const { url } = bank.options as { url: string };
    const proxy = await startProxy(Number(new URL(url).port));
    let runs = 0;
    const app = await bank.app(() => undefined, {}, { sql: { url: proxy.url(url) } });
    const service = app.app.get(IdempotencyService);
    const run = () =>
      service.run({ scope: 'pay', key }, async (ctx) => {
        await pay(ctx, `run ${++runs}`);
        if (runs === 1) proxy.cutRequest({ matching: 'COMMIT' });
        return ctx.attempt;
      });
    await expect(run()).rejects.toMatchObject({ code: 'unavailable' });
    expect(await bank.payers(key)).toEqual([]);
    expect(await run()).toMatchObject({ value: 2, attempt: 2 });
    expect([runs, proxy.cuts]).toEqual([2, 1]);
    expect(await bank.payers(key)).toEqual(['run 2']);
    await proxy.close();
  });

  it('G15 G52 a commit that arrives after its owner was told that nobody knows: one payout, one answer', async () => {
    const { url } = bank.options as { url: string };
    const proxy = await startProxy(Number(new URL(url).port));
    let runs = 0;
    const work: Work = async (ctx) => {
      await pay(ctx, `run ${++runs}`);
      if (runs === 1) proxy.holdRequest({ matching: 'COMMIT' });
      return `run ${runs}`;
    };
    const app = await bank.app(work, { backendTimeoutMs: 500 }, { sql: { url: proxy.url(url) } });
    const refused = await app.post('/pay', key, {});
    // MariaDB has executed the statement before, and the record is its own until the end of the transaction.
    const isOnItsWay = flavour === MARIADB;
    expect(refused.json.code).toBe(isOnItsWay ? 'outcome-uncertain' : 'unavailable');
    proxy.deliver();
    if (isOnItsWay) await eventually(async () => (await bank.payers(key)).length > 0, 'the late commit');
    else await sleep(300);
    const answer = await app.post('/pay', key, {});
    const payer = isOnItsWay ? 'run 1' : 'run 2';
    expect([answer.status, answer.text]).toEqual([201, payer]);
    expect(await bank.payers(key)).toEqual([payer]);
    await proxy.close();
  });

  it('a pool that is used up by transactions: claims are refused in time, and the transactions end well', async () => {
    const goOn = new Gate();
    const holding = [new Gate(), new Gate()];
    let n = 0;
    const work: Work = async (ctx) => {
      await pay(ctx);
      holding[n++]?.open();
      await goOn.opened;
      return 'paid';
    };
    const app = await bank.app(work, { backendTimeoutMs: 1_000 }, { sql: { poolSize: 2 } });
    // The commits of what is held need no connection of the pool.
    const held = [`${key}-1`, `${key}-2`].map((each) => app.post('/pay', each, {}));
    await Promise.all(holding.map(({ opened }) => opened));
    expectProblem(await app.post('/pay', `${key}-3`, {}), 503, 'unavailable');
    goOn.open();
    expect((await Promise.all(held)).map(({ status }) => status)).toEqual([201, 201]);
    // The claim that had been given up is given back as soon as it has got its connection.
    let last = await app.post('/pay', `${key}-3`, {});
    for (let n = 0; n < 100 && last.status === 409; n++)
      last = await sleep(50).then(() => app.post('/pay', `${key}-3`, {}));
    expect(last.status).toBe(201);
  });
});

it('a transaction that PostgreSQL has aborted is no success, whatever the handler says', async () => {
  await using bank = await Bank.open(POSTGRES);
  const app = await bank.app(async (ctx) => {
    await pay(ctx);
    if (ctx.attempt === 1) await ctx.manager.query('SELECT 1 / 0').catch(() => undefined);
    return 'paid';
  });
  expectProblem(await app.post('/pay', key, {}), 500, 'transaction-failed');
  expect(await bank.payers(key)).toEqual([]);
  expect((await app.post('/pay', key, {})).text).toBe('paid');
  expect(await bank.payers(key)).toEqual(['p']);
});

it('a constraint that is checked at the commit is no success', async () => {
  await using bank = await Bank.open(POSTGRES);
  await bank.witness.query(
    'CREATE TABLE late (id integer PRIMARY KEY, other integer REFERENCES late DEFERRABLE INITIALLY DEFERRED)',
  );
  const app = await bank.app(async (ctx) => {
    await ctx.manager.query('INSERT INTO late VALUES (1, 2)');
    await pay(ctx);
    return 'paid';
  });
  expectProblem(await app.post('/pay', key, {}), 500, 'transaction-failed');
  expect(await bank.payers(key)).toEqual([]);
});

it('G83 the app does not start with transactional on a store that has no transactions', async () => {
  const start = startApp({ module: { store: memoryStore(), transactional: true } });
  await expect(start).rejects.toThrow(
    'transactional is true, but the store "memory" has no transactions the handler could write in; use typeOrmStore',
  );
  const options = { isolation: 'SNAPSHOT', retries: 3 } as never;
  await expect(startApp({ module: { transactional: options } })).rejects.toThrow(
    /transactional is .*; it must be true, false or \{ isolation/,
  );
});

it('SQLite: a step inside of a transactional handler is refused in words', async () => {
  await using bank = await Bank.open(SQLITE);
  const app = await bank.app((ctx) => ctx.step('a', () => 1));
  const service = app.app.get(IdempotencyService);
  const inside = service.run({ scope: 's', key }, (ctx) => ctx.step('a', () => 1));
  await expect(inside).rejects.toThrow('Leave out transactional and use ctx.transaction');
});
