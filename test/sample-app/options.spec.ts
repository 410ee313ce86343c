import { setTimeout as sleep } from 'node:timers/promises';
import { DataSource } from 'typeorm';
import { dataSourceOptions } from '../../sample-app/database/data-source.js';
import { SampleInside, sqliteUrl } from './sample-app.js';

const isReplay = ({ headers }: { headers: Headers }) => headers.get('idempotent-replayed') === 'true';

it('ON_CONFLICT=wait: everybody in a burst gets the first answer', async () => {
  await using app = await SampleInside.start({ DATABASE_URL: sqliteUrl(), ON_CONFLICT: 'wait' });
  await app.pay('order');
  const answers = await Promise.all(Array.from({ length: 20 }, () => app.refund('order', 'key')));
  expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 201));
  expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
  expect(answers.filter(isReplay)).toHaveLength(19);
});

it('RETENTION_MS: a duplicate after it runs again, finds its own refund, and no second payout leaves', async () => {
  await using app = await SampleInside.start({ DATABASE_URL: sqliteUrl(), RETENTION_MS: '300' });
  await app.pay('order');
  const first = await app.refund('order', 'key');
  await sleep(400);
  const late = await app.refund('order', 'key');
  expect([late.status, late.text, isReplay(late)]).toEqual([201, first.text, false]);
  await sleep(400);
  expect(await app.refund('order', 'key', 50)).toMatchObject({
    status: 409,
    json: { code: 'illegal-transition' },
  });
  expect(await app.ledger('order')).toHaveLength(1);
});

it('LOCK=none STORE=memory: protects one process, and forgets at its end', async () => {
  const variables = { DATABASE_URL: sqliteUrl(), LOCK: 'none', STORE: 'memory' };
  {
    await using app = await SampleInside.start(variables);
    await app.pay('order');
    const answers = await Promise.all(Array.from({ length: 20 }, () => app.refund('order', 'key')));
    expect(answers.filter((answer) => answer.status === 201 && !isReplay(answer))).toHaveLength(1);
    expect(isReplay(await app.refund('order', 'key'))).toBe(true);
  }
  await using app = await SampleInside.start(variables);
  const late = await app.refund('order', 'key');
  expect([late.status, isReplay(late)]).toEqual([201, false]);
  expect(await app.ledger('order')).toHaveLength(1);
});

it('STORE=sharded: results are spread over the databases, the shop is in the first', async () => {
  const urls = [sqliteUrl(), sqliteUrl()];
  const variables = { DATABASE_URL: urls.join(','), STORE: 'sharded', LOCK: 'none', BANK_LATENCY_MS: '0' };
  const orderIds = Array.from({ length: 20 }, (_, i) => `order-${i}`);
  for (const isAgain of [false, true]) {
    await using app = await SampleInside.start(variables);
    if (!isAgain) await app.pay(...orderIds);
    for (const orderId of orderIds) expect(isReplay(await app.refund(orderId, orderId))).toBe(isAgain);
    expect(await app.ledger()).toHaveLength(20);
    const health = (await app.get('/health')).json;
    expect(Object.keys(health.details)).toEqual(['database', 'shard 1']);
  }
  const counts = await Promise.all(urls.map(countRecords));
  expect(counts[0]! + counts[1]!).toBe(20);
  expect(Math.min(...counts)).toBeGreaterThan(0);
});

async function countRecords(url: string): Promise<number> {
  const dataSource = await new DataSource(dataSourceOptions(url)).initialize();
  const [row] = await dataSource.query('SELECT count(*) AS n FROM idempotency_record');
  await dataSource.destroy();
  return Number(row.n);
}
