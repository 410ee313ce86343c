import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer } from '../support/http-app.js';
import { startRedis } from '../../sample-app/servers/servers.js';
import { sharedPostgres, sharedRedisUrl } from '../support/shared-servers.js';
import { eventually, PATIENCE_MS, SampleProcess } from './sample-app.js';

const DUPLICATES = 20;

function isReplay({ headers }: Answer): boolean {
  return headers.get('idempotent-replayed') === 'true';
}

/** A machine that is too busy for its backends says so, and did nothing. */
async function untilServed(send: () => Promise<Answer>): Promise<Answer> {
  for (;;) {
    const answer = await send();
    if (answer.status !== 503) return answer;
    await sleep(1_000 * Number(answer.headers.get('retry-after')));
  }
}

describe('three payment services over one Redis and one PostgreSQL', () => {
  let apps: [SampleProcess, SampleProcess, SampleProcess];

  // At the same time, on an empty database.
  beforeAll(async () => {
    const variables = {
      DATABASE_URL: await sharedPostgres().createDatabase(),
      LOCK: 'redis',
      REDIS_URL: sharedRedisUrl(),
      LEASE_MS: '5000',
      BANK_LATENCY_MS: '1000',
    };
    const start = () => SampleProcess.start(variables);
    apps = await Promise.all([start(), start(), start()]);
  }, PATIENCE_MS);

  it(
    '100 orders, each hit 20 times at once: exactly one payout each, and late duplicates get the same bytes',
    async () => {
      const orderIds = Array.from({ length: 100 }, (_, i) => `order-${i}`);
      await apps[0].pay(...orderIds);
      const hits = orderIds.flatMap((orderId, order) =>
        Array.from({ length: DUPLICATES }, (_, i) => ({ orderId, at: (order + i) % 3 })),
      );
      const answers = await Promise.all(
        hits.map(async ({ orderId, at }) => ({
          orderId,
          at,
          answer: await untilServed(() => apps[at]!.refund(orderId, `key-${orderId}`)),
        })),
      );

      const firsts = new Map(
        answers
          .filter(({ answer }) => answer.status === 201 && !isReplay(answer))
          .map(({ orderId, at, answer }) => [orderId, { at, answer }]),
      );
      expect([...firsts.keys()].toSorted()).toEqual(orderIds.toSorted());
      // Whoever was not the first was answered with its answer, or sent away while it ran: never did a second one get
      // as far as the order's own state, which would have refused it.
      const others = answers.filter(({ orderId, answer }) => {
        const isFirstsAnswer = answer.status === 201 && answer.text === firsts.get(orderId)!.answer.text;
        return !isFirstsAnswer && !(answer.status === 409 && answer.json.code === 'in-progress');
      });
      expect(others.map(({ answer }) => answer.text)).toEqual([]);

      const claims = await Promise.all(apps.map((app) => app.metric('claims_total')));
      expect(claims.reduce((sum, count) => sum + count)).toBe(orderIds.length);

      const ledger = await apps[2].ledger();
      expect(ledger.map(({ orderId }) => orderId).toSorted()).toEqual(orderIds.toSorted());
      for (const [orderId, { at, answer }] of firsts) {
        const late = await apps[(at + 1) % 3]!.refund(orderId, `key-${orderId}`);
        expect([late.status, late.text, isReplay(late)]).toEqual([201, answer.text, true]);
        expect(late.body.equals(answer.body)).toBe(true);
      }
      expect(await apps[1].ledger()).toHaveLength(orderIds.length);
    },
    PATIENCE_MS,
  );
});

describe('a payment service over results in Redis', () => {
  it(
    'is killed after the payout, before its answer was recorded: the next attempt finds it and answers without paying',
    async () => {
      const redis = await startRedis();
      const DATABASE_URL = await sharedPostgres().createDatabase();
      const variables = { DATABASE_URL, LEASE_MS: '4000', BANK_LATENCY_MS: '1000' };
      // The results are in a Redis that stands still at the moment they are to be stored.
      const store = { STORE: 'redis', LOCK: 'none', REDIS_URL: redis.url };
      const [victim, other] = await Promise.all([
        SampleProcess.start({ ...variables, ...store }),
        SampleProcess.start({ ...variables, ...store }),
      ]);
      await victim.pay('order');
      const send = (app: SampleProcess) => app.refund('order', 'key');
      void send(victim).catch(() => undefined);
      await eventually(
        () => other.get('/orders/order'),
        ({ json }) => json.status === 'REFUNDING',
      );
      await redis.pause();
      const [payout] = await eventually(
        () => other.ledger(),
        (rows) => rows.length > 0,
      );
      await victim.process.kill('SIGKILL');
      await redis.resume();

      const answer = await eventually(
        () => send(other),
        ({ status }) => status === 201,
        PATIENCE_MS,
      );
      expect(isReplay(answer)).toBe(false);
      expect(answer.json).toMatchObject({ orderId: 'order', amount: 100, status: 'REFUNDED' });
      const late = await send(other);
      expect([late.text, isReplay(late)]).toEqual([answer.text, true]);
      expect(await other.ledger()).toEqual([payout]);
    },
    PATIENCE_MS,
  );
});
