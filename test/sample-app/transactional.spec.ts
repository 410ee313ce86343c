import { DataSource } from 'typeorm';
import { readEnvironment } from '../../sample-app/config/environment.reader.js';
import { dataSourceOptions } from '../../sample-app/database/data-source.js';
import { sharedMariaDb, sharedPostgres } from '../support/shared-servers.js';
import { eventually, PATIENCE_MS, SampleInside, SampleProcess } from './sample-app.js';

it('refunds are transactions where order, ledger and results are in one database with many connections', () => {
  const isTransactional = (variables: NodeJS.ProcessEnv) => readEnvironment(variables).isTransactional;
  const DATABASE_URL = 'postgres://a/x';
  expect(isTransactional({ DATABASE_URL })).toBe(true);
  expect(isTransactional({ DATABASE_URL: 'mysql://a/x' })).toBe(true);
  expect(isTransactional({})).toBe(false);
  expect(isTransactional({ DATABASE_URL, STORE: 'memory' })).toBe(false);
  expect(isTransactional({ DATABASE_URL: 'mysql://a/x,mysql://a/y', STORE: 'sharded' })).toBe(false);
  expect(isTransactional({ DATABASE_URL, BANK: 'external' })).toBe(false);
});

it.each([
  ['PostgreSQL', () => sharedPostgres().createDatabase()],
  ['MariaDB', () => sharedMariaDb().createDatabase()],
])('%s: an answer that cannot be recorded takes order and payout back', async (_name, createDatabase) => {
  const DATABASE_URL = await createDatabase();
  await using app = await SampleInside.start({ DATABASE_URL, LEASE_MS: '500', BANK_LATENCY_MS: '0' });
  const witness = await new DataSource(dataSourceOptions(DATABASE_URL)).initialize();
  await app.pay('order');
  // As an operator may: the record of the running call is released, so the call has nothing to answer to.
  const lock = witness.createQueryRunner();
  await lock.startTransaction();
  await lock.query(`SELECT 1 FROM orders WHERE order_id = 'order' FOR UPDATE`);
  const running = app.refund('order', 'key');
  await eventually(
    () => app.metric('running'),
    (count) => count === 1,
  );
  await witness.query('DELETE FROM idempotency_record');
  await lock.rollbackTransaction();
  await lock.release();
  const overtaken = await running;
  expect(overtaken).toMatchObject({ status: 409, json: { code: 'lease-lost' } });
  expect(await app.ledger('order')).toEqual([]);
  expect((await app.get('/orders/order')).json.status).toBe('PAID');
  await witness.destroy();
  const again = await app.refund('order', 'key');
  expect(again).toMatchObject({ status: 201, json: { status: 'REFUNDED' } });
  expect(await app.ledger('order')).toHaveLength(1);
});

it(
  'PostgreSQL: G51 killed between payout and answer: neither is there. While both are on their way: both are there',
  async () => {
    const DATABASE_URL = await sharedPostgres().createDatabase();
    const variables = { DATABASE_URL, LOCK: 'none', LEASE_MS: '3000', BANK_LATENCY_MS: '300' };
    const start = () => SampleProcess.start(variables);
    const [victim, other] = await Promise.all([start(), start()]);
    const witness = await new DataSource(dataSourceOptions(DATABASE_URL)).initialize();
    const count = (sql: string) => witness.query<unknown[]>(sql).then(({ length }) => length);
    // A payout of this order is written, and then waits.
    await witness.query(`
      CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END $$;
      CREATE TRIGGER wait AFTER INSERT ON ledger FOR EACH ROW
        WHEN (NEW::text LIKE '%interrupted%') EXECUTE FUNCTION wait();`);
    await victim.pay('interrupted');
    await victim.pay('sent');
    const obstacle = witness.createQueryRunner();
    await obstacle.startTransaction();
    await obstacle.query('SELECT pg_advisory_xact_lock(1)');
    const interrupted = victim.refund('interrupted', 'a').catch(() => 'cut');
    const waiting = 'SELECT 1 FROM pg_locks WHERE NOT granted';
    await eventually(
      () => count(waiting),
      (found) => found === 1,
    );
    const sent = victim.refund('sent', 'b').catch(() => 'cut');
    // With its record locked, the answer waits at the server, and its commit behind it.
    await eventually(
      () => obstacle.query(`SELECT 1 FROM idempotency_record WHERE "key" = 'b' FOR UPDATE`),
      ({ length }: unknown[]) => length === 1,
    );
    await eventually(
      () => count(waiting),
      (found) => found === 2,
    );
    await victim.process.kill('SIGKILL');
    expect(await Promise.all([interrupted, sent])).toEqual(['cut', 'cut']);
    await obstacle.rollbackTransaction();
    await obstacle.release();
    // Who has written to the ledger holds this until the end of his transaction.
    await eventually(
      () => count(`SELECT 1 FROM pg_locks WHERE relation = 'ledger'::regclass AND mode = 'RowExclusiveLock'`),
      (found) => found === 0,
    );
    const left = async (order: string) => [
      (await other.ledger(order)).length,
      (await other.get(`/orders/${order}`)).json.status,
    ];
    expect(await left('interrupted')).toEqual([0, 'PAID']);
    expect(await left('sent')).toEqual([1, 'REFUNDED']);

    for (const [order, key, isReplay] of [
      ['interrupted', 'a', false],
      ['sent', 'b', true],
    ] as const) {
      const answer = await eventually(
        () => other.refund(order, key),
        ({ status }) => status === 201,
        20_000,
      );
      expect(answer.json).toMatchObject({ orderId: order, amount: 100, status: 'REFUNDED' });
      expect(answer.headers.has('idempotent-replayed')).toBe(isReplay);
      const late = await other.refund(order, key);
      expect([late.text, late.headers.get('idempotent-replayed')]).toEqual([answer.text, 'true']);
      expect(await left(order)).toEqual([1, 'REFUNDED']);
    }
    await witness.destroy();
    await other[Symbol.asyncDispose]();
  },
  PATIENCE_MS,
);
