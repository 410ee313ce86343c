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
  'PostgreSQL: G51 killed between the payout and the answer: neither is there, and the next process does both',
  async () => {
    const DATABASE_URL = await sharedPostgres().createDatabase();
    const variables = { DATABASE_URL, LOCK: 'none', LEASE_MS: '3000', BANK_LATENCY_MS: '300' };
    const start = () => SampleProcess.start(variables);
    const [victim, other] = await Promise.all([start(), start()]);
    const witness = await new DataSource(dataSourceOptions(DATABASE_URL)).initialize();
    await victim.pay('order');
    const lock = witness.createQueryRunner();
    await lock.startTransaction();
    const cut = victim.refund('order', 'key').catch(() => 'cut');
    // With its record locked, the answer is the one thing that cannot be written.
    await eventually(
      () => lock.query('SELECT 1 FROM idempotency_record FOR UPDATE'),
      ({ length }: unknown[]) => length === 1,
    );
    // Whoever has written to the ledger, and not committed, holds this.
    const paying = `SELECT 1 FROM pg_locks WHERE relation = 'ledger'::regclass AND mode = 'RowExclusiveLock'`;
    await eventually(
      () => witness.query(paying),
      ({ length }: unknown[]) => length === 1,
    );
    await victim.process.kill('SIGKILL');
    expect(await cut).toBe('cut');
    await lock.rollbackTransaction();
    await lock.release();
    await eventually(
      () => witness.query(paying),
      ({ length }: unknown[]) => length === 0,
    );
    expect(await other.ledger('order')).toEqual([]);
    expect((await other.get('/orders/order')).json.status).toBe('PAID');

    const answer = await eventually(
      () => other.refund('order', 'key'),
      ({ status }) => status === 201,
      20_000,
    );
    expect(answer.json).toMatchObject({ orderId: 'order', amount: 100, status: 'REFUNDED' });
    expect(answer.headers.has('idempotent-replayed')).toBe(false);
    const late = await other.refund('order', 'key');
    expect([late.text, late.headers.get('idempotent-replayed')]).toEqual([answer.text, 'true']);
    expect(await other.ledger('order')).toHaveLength(1);
    expect((await other.get('/orders/order')).json.status).toBe('REFUNDED');
    await witness.destroy();
    await other[Symbol.asyncDispose]();
  },
  PATIENCE_MS,
);
