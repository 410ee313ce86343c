import { dirname } from 'node:path';
import { DataSource } from 'typeorm';
import { ExternalBank } from '../../sample-app/bank/external.bank.js';
import { readBankEnvironment } from '../../sample-app/bank/external/bank.environment.js';
import { BankLedger } from '../../sample-app/bank/external/bank.ledger.js';
import { readEnvironment } from '../../sample-app/config/environment.reader.js';
import { dataSourceOptions } from '../../sample-app/database/data-source.js';
import { type FaultProxy, startProxy } from '../support/proxy.js';
import { sharedPostgres } from '../support/shared-servers.js';
import { type Journey, startFront, TestBank } from './bank-process.js';
import {
  eventually,
  PATIENCE_MS,
  SampleClient,
  SampleInside,
  SampleProcess,
  sqliteUrl,
} from './sample-app.js';

let bank: TestBank;
beforeAll(async () => {
  bank = await TestBank.start();
}, PATIENCE_MS);
afterAll(() => bank[Symbol.asyncDispose]());

it('the bank pays once for a key, answers the same, and refuses what a key cannot be', async () => {
  const order = { orderId: 'plain', amount: 100 };
  const [first, ...others] = await Promise.all([1, 2, 3].map(() => bank.payOut('key', order)));
  expect(first).toMatchObject({ status: 201, json: { ...order, payoutId: expect.any(String) } });
  expect(new Set(others.map(({ text }) => text))).toEqual(new Set([first!.text]));
  expect(await bank.ledger('plain')).toEqual([first!.json]);
  expect((await bank.payOut('key', { ...order, amount: 99 })).status).toBe(422);
  expect((await bank.payOut(undefined, order)).json.message).toMatch(
    /^Idempotency-Key is missing; it must be/,
  );
  expect((await bank.payOut('key', { ...order, amount: 0 })).status).toBe(400);
  // Another key is another payout: the ledger can show that money left twice.
  expect((await bank.payOut('other', order)).status).toBe(201);
  expect(await bank.ledger('plain')).toHaveLength(2);
});

it('every way of asking for a refund pays once, at the bank and not in the shop', async () => {
  const url = sqliteUrl();
  const variables = { DATABASE_URL: url, BANK: 'external', BANK_URL: bank.url };
  await using app = await SampleInside.start(variables);
  await app.pay('by-key', 'by-order', 'by-queue');
  const burst = await Promise.all(Array.from({ length: 10 }, () => app.refund('by-key', 'by-key')));
  const first = burst.find(({ status }) => status === 201)!;
  expect((await app.refund('by-key', 'by-key')).text).toBe(first.text);
  expect(await app.refund('by-key', 'another')).toMatchObject({ status: 409, json: { from: 'REFUNDED' } });
  expect((await app.post('/refunds/by-order', { orderId: 'by-order', amount: 100 })).status).toBe(201);
  const queued = { orderId: 'by-queue', amount: 100 };
  expect((await app.post('/refund-requests', queued, { 'idempotency-key': 'by-queue' })).status).toBe(202);
  for (const orderId of ['by-key', 'by-order', 'by-queue']) {
    const [payout] = await eventually(
      () => bank.ledger(orderId),
      ({ length }) => length === 1,
    );
    expect(await app.ledger(orderId)).toEqual([payout]);
    await eventually(
      () => app.get(`/orders/${orderId}`),
      ({ json }) => json.status === 'REFUNDED',
    );
  }
  const shop = await new DataSource(dataSourceOptions(url)).initialize();
  expect(await shop.query('SELECT * FROM ledger')).toEqual([]);
  await shop.destroy();
});

describe('G51 a process is killed with the bank paid and nobody answered', () => {
  let victim: SampleProcess;
  let other: SampleProcess;
  let witness: DataSource;
  let close: () => void;
  const journeys = new Map<string, Journey>();
  const send = (app: SampleClient, orderId: string) => app.refund(orderId, `key-${orderId}`);
  const untilDone = (orderId: string) =>
    eventually(
      () => send(other, orderId),
      ({ status }) => status === 201,
      20_000,
    );

  beforeAll(async () => {
    const DATABASE_URL = await sharedPostgres().createDatabase();
    const variables = { DATABASE_URL, BANK: 'external', LOCK: 'none', LEASE_MS: '2000' };
    const front = await startFront(bank, journeys);
    close = front.close;
    [victim, other] = await Promise.all([
      SampleProcess.start({ ...variables, BANK_URL: front.url }),
      SampleProcess.start({ ...variables, BANK_URL: bank.url }),
    ]);
    witness = await new DataSource(dataSourceOptions(DATABASE_URL)).initialize();
    const lock = witness.createQueryRunner();
    await lock.startTransaction();
    await victim.pay('reply-lost', 'recorded');
    const paid = new Promise<void>((paid) => journeys.set('reply-lost', { paid }));
    // The payout is recorded, and then the order cannot be finished.
    const before = () => lock.query(`SELECT 1 FROM orders WHERE order_id = 'recorded' FOR UPDATE`);
    journeys.set('recorded', { before });
    const cut = ['reply-lost', 'recorded'].map((orderId) => send(victim, orderId).catch(() => 'cut'));
    await paid;
    await eventually(
      () => witness.query('SELECT name FROM idempotency_step'),
      ({ length }: unknown[]) => length === 1,
    );
    await victim.process.kill('SIGKILL');
    const ends = await Promise.all(cut);
    if (ends.some((end) => end !== 'cut')) throw new Error('The victim answered', { cause: ends });
    await lock.rollbackTransaction();
    await lock.release();
  }, PATIENCE_MS);

  afterAll(async () => {
    await witness.destroy();
    await other[Symbol.asyncDispose]();
    close();
  });

  it.each(['reply-lost', 'recorded'])(
    '%s: redelivered to another process, money left once',
    async (orderId) => {
      const [payout] = await bank.ledger(orderId);
      expect(payout).toMatchObject({ orderId, amount: 100 });
      expect((await other.get(`/orders/${orderId}`)).json.status).toBe('REFUNDING');
      // What is known to be paid needs no bank.
      if (orderId === 'recorded') bank.process.pause();
      const answer = await untilDone(orderId);
      bank.process.resume();
      expect(answer.json).toMatchObject({ orderId, amount: 100, status: 'REFUNDED' });
      expect(answer.headers.has('idempotent-replayed')).toBe(false);
      const late = await send(other, orderId);
      expect([late.text, late.headers.get('idempotent-replayed')]).toEqual([answer.text, 'true']);
      expect(await bank.ledger(orderId)).toEqual([payout]);
      expect(await other.ledger(orderId)).toEqual([payout]);
      expect((await other.get(`/orders/${orderId}`)).json.status).toBe('REFUNDED');
    },
  );
});

it(
  'without BANK_URL the app starts a bank, which ends when the app is killed',
  async () => {
    const DATABASE_URL = sqliteUrl();
    // Where the bank has its file.
    const TMPDIR = dirname(DATABASE_URL.slice('sqlite:'.length));
    await using app = await SampleProcess.start({ DATABASE_URL, BANK: 'external', TMPDIR });
    await app.pay('order');
    expect((await app.refund('order', 'key')).status).toBe(201);
    expect(await app.ledger()).toEqual([
      { payoutId: expect.any(String), orderId: 'order', amount: 100, at: expect.any(String) },
    ]);
    const [, url] = await app.process.waitForLine(/BANK=external at (\S+?)\)/);
    await app.process.kill('SIGKILL');
    await eventually(
      () => fetch(`${url}/payouts`).catch(() => 'gone'),
      (answer) => answer === 'gone',
    );
  },
  PATIENCE_MS,
);

describe('the way to the bank', () => {
  let proxy: FaultProxy;
  let app: SampleInside;
  const matching = 'POST /payouts';

  beforeAll(async () => {
    proxy = await startProxy(Number(new URL(bank.url).port));
    const BANK_URL = proxy.url(bank.url);
    app = await SampleInside.start({ DATABASE_URL: sqliteUrl(), BANK: 'external', BANK_URL });
  });
  afterAll(() => app[Symbol.asyncDispose]());

  it.each(['not-asked', 'not-told'])(
    '%s: it is asked again with the same key, and pays once',
    async (orderId) => {
      await app.pay(orderId);
      const { cuts } = proxy;
      if (orderId === 'not-asked') proxy.cutRequest({ matching });
      else proxy.cutReply({ matching });
      const answer = await app.refund(orderId, orderId);
      expect([answer.status, answer.json.status, proxy.cuts]).toEqual([201, 'REFUNDED', cuts + 1]);
      expect(await bank.ledger(orderId)).toHaveLength(1);
    },
  );

  it('is cut for long: no refusal, the next call finishes the refund', async () => {
    await app.pay('cut-off');
    proxy.cutReply({ matching, once: false });
    const refused = await app.refund('cut-off', 'cut-off');
    expect([refused.status, refused.json.message]).toEqual([
      502,
      'The bank did not answer as it should: it was asked 5 times',
    ]);
    proxy.pass();
    expect((await app.get('/orders/cut-off')).json.status).toBe('REFUNDING');
    expect(await bank.ledger('cut-off')).toHaveLength(1);
    const answer = await app.refund('cut-off', 'cut-off');
    expect([answer.status, answer.json.status]).toEqual([201, 'REFUNDED']);
    expect(await bank.ledger('cut-off')).toHaveLength(1);
  });
});

describe('is refused by name', () => {
  it.each([
    ['BANK_PORT', 'x', 'BANK_PORT is "x"; it must be a whole number from 0 to 65535'],
    ['BANK_LATENCY_MS', '-1', 'BANK_LATENCY_MS is "-1"; it must be a whole number'],
  ])('%s=%s', (name, value, message) => {
    expect(() => readBankEnvironment({ [name]: value })).toThrow(message);
  });

  it('a BANK_URL where none answers, a BANK_FILE that is none', async () => {
    const variables = { BANK: 'external', BANK_URL: 'http://127.0.0.1:1' };
    await expect(ExternalBank.open(readEnvironment(variables))).rejects.toThrow(
      'BANK_URL is "http://127.0.0.1:1"; it must be where a bank answers: ',
    );
    const environment = readBankEnvironment({ BANK_FILE: '/nowhere/bank.sqlite' });
    expect(() => new BankLedger(environment)).toThrow(
      'BANK_FILE is "/nowhere/bank.sqlite"; it must be a SQLite file that can be written: ',
    );
  });
});
