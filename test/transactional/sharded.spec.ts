import { randomUUID } from 'node:crypto';
import type { StoreTransaction } from 'nestjs-idempotent';
import { shardedStore } from 'nestjs-idempotent/stores/typeorm';
import { MARIADB, POSTGRES, storeOf } from '../stores/typeorm-flavours.js';
import { eventually } from '../support/eventually.js';
import { wrapped } from '../support/fixtures/wrapped.js';
import { expectReplayOf } from '../support/http-app.js';
import { Bank, pay, type Work } from './transactional-app.js';

let banks: readonly [Bank, Bank];
beforeAll(async () => {
  banks = await Promise.all([Bank.open(POSTGRES), Bank.open(MARIADB)]);
});
afterAll(() => Promise.all(banks.map((bank) => bank.close())));

function stores() {
  const [north, south] = banks.map(({ witness }, i) => storeOf(i ? MARIADB : POSTGRES, witness));
  return { north: north!, south: south! };
}

type Shards = ReturnType<typeof stores>;

const keysOf = (run: string) => Array.from({ length: 12 }, (_, i) => `${run} ${i}`);

it('G52 the writes are in the shard of the record, and commit together with it', async () => {
  const app = await banks[0].app((ctx) => pay(ctx), { store: shardedStore({ shards: stores() }) });
  const keys = keysOf(randomUUID());
  for (const key of keys) {
    const first = await app.post('/pay', key, {});
    expect(first.status).toBe(201);
    expectReplayOf(first, await app.post('/pay', key, {}));
  }
  for (const bank of banks) {
    const { witness } = bank;
    const quoted = witness.options.type === 'postgres' ? '"key"' : '`key`';
    const rows = await witness.query<{ key: string }[]>(
      `SELECT ${quoted} FROM idempotency_record WHERE state = 'completed'`,
    );
    const here = rows.map(({ key }) => key).filter((key) => keys.includes(key));
    expect(here.length).toBeGreaterThan(0);
    expect(here.length).toBeLessThan(keys.length);
    for (const key of keys) expect(await bank.payers(key)).toEqual(here.includes(key) ? ['p'] : []);
  }
  // No record, no shard, no database to write to.
  expect(await app.post('/optional', null, {})).toMatchObject({ status: 503, json: { code: 'unavailable' } });
});

describe.each([
  ['step 1', 0, ({ north, south }: Shards) => shardedStore({ shards: { north }, next: { south } })],
  ['step 2', 1, ({ north, south }: Shards) => shardedStore({ shards: { south }, previous: { north } })],
] as const)('while all keys move, %s', (_step, lead, storeIn) => {
  it('G52 they are in the leading place, and the other one is told', async () => {
    const key = randomUUID();
    const app = await banks[0].app((ctx) => pay(ctx), { store: storeIn(stores()) });
    const first = await app.post('/pay', key, {});
    expect(first.status).toBe(201);
    expect(await banks[lead].payers(key)).toEqual(['p']);
    expect(await banks[1 - lead]!.payers(key)).toEqual([]);
    expectReplayOf(first, await app.post('/pay', key, {}));
    for (const place of [pick('north'), pick('south')]) {
      const alone = await banks[0].app((ctx) => pay(ctx, 'again'), {
        store: shardedStore({ shards: place }),
      });
      await eventually(async () => {
        const answer = await alone.post('/pay', key, {});
        return answer.headers.has('idempotent-replayed');
      }, 'an answer in both places');
    }
  });

  it('a commit whose reply is lost counts, although the other place knows nothing of it', async () => {
    const key = randomUUID();
    const { north, south } = stores();
    const { transactions } = lead === 0 ? north : south;
    const begin = transactions.begin.bind(transactions);
    let lost = 0;
    transactions.begin = async (...args) =>
      wrapped<StoreTransaction>(await begin(...args), {
        complete: async (next) => {
          await next();
          throw new Error(`reply ${++lost} is lost`);
        },
      });
    const app = await banks[0].app((ctx) => pay(ctx), { store: storeIn({ north, south }) });
    const first = await app.post('/pay', key, {});
    expect([first.status, lost]).toEqual([201, 1]);
    expect(await banks[lead].payers(key)).toEqual(['p']);
    expectReplayOf(first, await app.post('/pay', key, {}));
  });

  it('an error rolls back, and a step is there in both or in none', async () => {
    const key = randomUUID();
    let attempts = 0;
    const work: Work = async (ctx) => {
      await ctx.transaction('pay', async (manager) => {
        await manager.query(`INSERT INTO ledger (account, payer) VALUES ('${key}', 'step')`);
      });
      if (++attempts === 1) throw new Error('crash');
      return attempts;
    };
    const app = await banks[0].app(work, { store: storeIn(stores()), transactional: false });
    expect((await app.post('/pay', key, {})).status).toBe(500);
    expect((await app.post('/pay', key, {})).text).toBe('2');
    expect(await banks[lead].payers(key)).toEqual(['step']);
    expect(await banks[1 - lead]!.payers(key)).toEqual([]);

    const failing = await banks[0].app(
      async (ctx) => {
        await pay(ctx);
        throw new Error('crash');
      },
      { store: storeIn(stores()) },
    );
    const other = randomUUID();
    expect((await failing.post('/pay', other, {})).status).toBe(500);
    for (const bank of banks) expect(await bank.payers(other)).toEqual([]);
  });
});

function pick<N extends 'north' | 'south'>(name: N) {
  return { [name]: stores()[name] };
}
