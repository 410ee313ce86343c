import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { IdempotencyService, type IdempotencyContext } from 'nestjs-idempotent';
import type { DataSource } from 'typeorm';
import { open, POSTGRES } from '../stores/typeorm-flavours.js';
import { Gate, type TestApp } from '../support/http-app.js';
import { startProxy } from '../support/proxy.js';
import { Bank } from './transactional-app.js';

/** What a handler does first. Whatever it is, it is in the transaction. */
const FIRST: Record<string, (ctx: IdempotencyContext, insert: string) => unknown> = {
  'a statement with parameters': ({ manager }, insert) => manager.query(insert, ['first']),
  'a statement without': ({ manager }, insert) => manager.query(insert.replace('$1', `'first'`)),
  'several statements in one text': ({ manager }, insert) =>
    manager.query(`SELECT 1; ${insert.replace('$1', `'first'`)}`),
  'a savepoint': ({ manager }, insert) => manager.transaction((inner) => inner.query(insert, ['first'])),
  'two at once': ({ manager }, insert) =>
    Promise.all([manager.query(insert, ['first']), manager.query(`SELECT 1`)]),
  'two at once, the one without parameters first': ({ manager }, insert) =>
    Promise.all([manager.query(`SELECT 1`), manager.query(insert, ['first'])]),
  'a statement of the client itself': async ({ manager }, insert) => {
    const client = (await manager.queryRunner!.connect()) as pg.Client;
    await client.query(insert, ['first']);
  },
  'a query that sends itself, as streams do': async ({ manager }, insert) => {
    const client = (await manager.queryRunner!.connect()) as pg.Client;
    await new Promise<void>((resolve, reject) => {
      const query = new pg.Query(insert, ['first']);
      query.on('end', () => resolve()).on('error', reject);
      client.query(query);
    });
  },
  'a statement that fails': ({ manager }, insert) =>
    manager
      .transaction((inner) => inner.query('SELECT 1 / $1::integer', [0]))
      .catch(() => manager.query(insert, ['first'])),
};

describe.each([false, true])('preparedStatements: %s', (preparedStatements) => {
  let bank: Bank;
  let service: IdempotencyService;
  let app: TestApp;
  let sent: string[] = [];
  let key: string;
  let witness: DataSource;

  beforeAll(async () => {
    bank = await Bank.open({ ...POSTGRES, storeOptions: { preparedStatements } });
    const { url } = bank.options as { url: string };
    const proxy = await startProxy(Number(new URL(url).port));
    const listen = (chunk: Buffer) => {
      sent.push(chunk.toString('latin1'));
      return false;
    };
    proxy.cutRequest({ matching: listen, once: false });
    app = await bank.app(() => undefined, {}, { sql: { url: proxy.url(url), poolSize: 1 } });
    service = app.app.get(IdempotencyService);
    witness = await open(bank.options);
  });
  afterAll(async () => {
    await witness.destroy();
    await bank.close();
  });
  beforeEach(() => {
    key = `k-${randomUUID()}`;
    sent = [];
  });

  const insert = () => `INSERT INTO ledger (account, payer) VALUES ('${key}', $1)`;
  const run = (work: (ctx: IdempotencyContext) => unknown) => service.run({ scope: 'messages', key }, work);
  const open1 = () => witness.query(`SELECT 1 FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'`);

  it.each(Object.entries(FIRST))(
    '%s: it is committed with the answer, and rolled back with an error',
    async (_, first) => {
      const failing = run(async (ctx) => {
        await first(ctx, insert());
        expect(await bank.payers(key)).toEqual([]);
        throw new Error('no');
      });
      await expect(failing).rejects.toThrow('no');
      expect(await bank.payers(key)).toEqual([]);
      await run(async (ctx) => {
        await first(ctx, insert());
        await ctx.manager.query(insert(), ['second']);
        expect(await bank.payers(key)).toEqual([]);
        return 'paid';
      });
      expect(await bank.payers(key)).toEqual(['first', 'second']);
      expect(await open1()).toEqual([]);
    },
  );

  it.each(Object.entries(FIRST))('%s: not awaited it is in the transaction as well', async (_, first) => {
    const left = (ctx: IdempotencyContext) =>
      void Promise.resolve(first(ctx, insert())).catch(() => undefined);
    await expect(
      run(async (ctx) => {
        left(ctx);
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    // Behind all that was sent.
    await run(() => 'paid').catch(() => undefined);
    expect(await bank.payers(key)).toEqual([]);
    key = `k-${randomUUID()}`;
    sent = [];
    await run((ctx) => left(ctx));
    const commit = sent.findIndex((message) => message.includes('COMMIT'));
    expect(sent.findLastIndex((message) => message.includes('INTO ledger'))).toBeLessThanOrEqual(commit);
    expect(await open1()).toEqual([]);
  });

  it('what is not awaited and comes too late writes nothing', async () => {
    let dataSource!: DataSource;
    let late!: Promise<unknown>;
    const gate = new Gate();
    const slow = {
      beforeQuery: async ({ query }: { query: string }) => {
        if (query.includes('INTO ledger')) await gate.opened;
      },
    };
    await run(({ manager }) => {
      ({ dataSource } = manager as unknown as { dataSource: DataSource });
      dataSource.subscribers.push(slow);
      late = manager.query(insert(), ['late']).catch((error: Error) => error.message);
      return 'paid';
    });
    gate.open();
    expect(await late).toContain('await all that is written before the handler returns');
    dataSource.subscribers.splice(dataSource.subscribers.indexOf(slow), 1);
    expect(await bank.payers(key)).toEqual([]);
  });

  it('a beginning that failed: nothing is written by who goes on all the same', async () => {
    const result = run(async ({ manager }) => {
      await manager.query('NOT SQL').catch(() => undefined);
      await manager.query(insert(), ['p']).catch(() => undefined);
      return 'paid';
    });
    await expect(result).rejects.toMatchObject({
      code: expect.stringMatching(/^(unavailable|transaction-failed)$/),
    });
    expect(await bank.payers(key)).toEqual([]);
    await run(({ manager }) => manager.query(insert(), ['q']));
    expect(await bank.payers(key)).toEqual(['q']);
  });

  it('a callback of the client itself is called', async () => {
    await run(async ({ manager }) => {
      const client = (await manager.queryRunner!.connect()) as pg.Client;
      await new Promise<void>((resolve, reject) =>
        client.query(insert().replace('$1', `'p'`), (error) => (error ? reject(error) : resolve())),
      );
    });
    expect(await bank.payers(key)).toEqual(['p']);
  });

  it('the beginning goes along with the first statement, the commit with the completion', async () => {
    await run(({ manager }) => manager.query(insert(), ['p']));
    key = `k-${randomUUID()}`;
    sent = [];
    await run(async ({ manager }) => {
      expect(await manager.query(`${insert()} RETURNING payer`, ['p'])).toEqual([{ payer: 'p' }]);
    });
    expect(sent).toEqual([
      expect.stringContaining(key),
      expect.stringMatching(/START TRANSACTION[^]*INSERT INTO ledger/),
      expect.stringContaining('COMMIT'),
    ]);
  });

  it('a handler that writes nothing: its answer is recorded in one message', async () => {
    await run(() => 'paid');
    expect(sent).toHaveLength(2);
    expect(await run(() => 'again')).toMatchObject({ value: 'paid', replayed: true });
  });

  it('one that throws before it writes: nothing is sent but the claim and its release', async () => {
    await expect(run(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(sent).toHaveLength(2);
    expect(sent.join('')).not.toMatch(/START|ROLLBACK/);
  });

  it('a value that cannot be sent is an error of the statement, and the connection stays good', async () => {
    const endless: { self?: unknown } = {};
    endless.self = endless;
    const result = run(async ({ manager }) => {
      await manager.query(insert(), [endless]);
    });
    await expect(result).rejects.toThrow('circular');
    await run(({ manager }) => manager.query(insert(), ['p']));
    expect(await bank.payers(key)).toEqual(['p']);
  });

  it('subscribers of TypeORM see the commit before and after', async () => {
    const seen: string[] = [];
    let dataSource!: DataSource;
    await run(({ manager }) => void ({ dataSource } = manager as unknown as { dataSource: DataSource }));
    const subscriber = {
      beforeTransactionCommit: async () => void seen.push(`before ${(await bank.payers(key)).length}`),
      afterTransactionCommit: async () => void seen.push(`after ${(await bank.payers(key)).length}`),
    };
    dataSource.subscribers.push(subscriber);
    key = `k-${randomUUID()}`;
    await run(({ manager }) => manager.query(insert(), ['p']));
    dataSource.subscribers.splice(dataSource.subscribers.indexOf(subscriber), 1);
    expect(seen).toEqual(['before 0', 'after 1']);
    // What goes wrong after the commit changes nothing about it, whatever it looks like.
    const failing = {
      afterTransactionCommit: () => Promise.reject(Object.assign(new Error('late'), { code: '40001' })),
    };
    dataSource.subscribers.push(failing);
    key = `k-${randomUUID()}`;
    expect(await run(({ manager }) => manager.query(insert(), ['p']))).toMatchObject({ attempt: 1 });
    dataSource.subscribers.splice(dataSource.subscribers.indexOf(failing), 1);
    expect(await bank.payers(key)).toEqual(['p']);
  });
});
