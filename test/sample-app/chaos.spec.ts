import { randomBytes, randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { randomOf } from '../support/random.js';
import {
  type Server,
  type SqlServer,
  startMariaDb,
  startPostgres,
  startRedis,
} from '../../sample-app/servers/servers.js';
import { TestBank } from './bank-process.js';
import { CALLERS, Callers } from './callers.js';
import { Fleet } from './fleet.js';
import { PATIENCE_MS, type Variables } from './sample-app.js';
import { Shop } from './shop.js';

/** Repeats the kills of a run: when they come, and whom they hit. What they hit it at is up to the machine. */
const SEED = Number(process.env.CHAOS_SEED ?? randomInt(2 ** 31));
/** Of every test; else each has its own number. `npm run chaos` */
const ORDERS = process.env.CHAOS_ORDERS;

/** Orders that are refunded at a time. */
const WIDTH = 100;
const ORDERS_PER_KILL = 200;
const KILLS_AT_LEAST = 2;
/** Of each server, which is started again within so many milliseconds. */
const ORDERS_PER_CRASH = 400;
const DOWN_MS = 1_000;

interface Setting {
  readonly backends: string;
  readonly orders: number;
  readonly variables: () => Promise<Variables & { DATABASE_URL: string }>;
  /** Killed on the way, too. Redis comes back empty, a database with what it has committed. */
  readonly servers: () => Server[];
}

let redis: Server;
let postgres: SqlServer;
let mariaDb: SqlServer;
let bank: TestBank;

const SETTINGS: readonly Setting[] = [
  {
    backends: 'Redis and PostgreSQL',
    orders: 500,
    variables: async () => ({ DATABASE_URL: await postgres.createDatabase() }),
    servers: () => [redis, postgres],
  },
  {
    backends: 'Redis and MariaDB',
    orders: 100,
    variables: async () => ({ DATABASE_URL: await mariaDb.createDatabase() }),
    servers: () => [mariaDb],
  },
  {
    backends: 'Redis, PostgreSQL and a bank elsewhere',
    orders: 100,
    variables: async () => ({
      DATABASE_URL: await postgres.createDatabase(),
      BANK: 'external',
      BANK_URL: bank.url,
    }),
    servers: () => [postgres],
  },
];

beforeAll(async () => {
  [redis, postgres, mariaDb, bank] = await Promise.all([
    startRedis(),
    startPostgres(),
    startMariaDb(),
    TestBank.start(),
  ]);
}, PATIENCE_MS);

it.each(SETTINGS)(
  'three payment services over $backends, all of them killed at random: one payout an order, one answer to all callers',
  async ({ orders, variables, servers, backends }) => {
    const given = await variables();
    const common = { LOCK: 'redis', REDIS_URL: redis.url, LEASE_MS: '2000', BANK_LATENCY_MS: '20' };
    await using fleet = await Fleet.start({ ...given, ...common });
    await using shop = await Shop.open(given.DATABASE_URL);
    const count = Number(ORDERS ?? orders);
    // The bank has those of an earlier try, too.
    const shopId = randomBytes(3).toString('hex');
    const orderIds = Array.from({ length: count }, (_, i) => `order-${shopId}-${String(i).padStart(6, '0')}`);
    await shop.pay(orderIds);

    const events = eventsOf(count, fleet, servers());
    const ends: Promise<unknown>[] = [];
    const callers = new Callers(fleet.clients, (answered) => {
      while (events[0] && events[0].after <= answered) ends.push(failureOf(events.shift()!.happen()));
    });
    const startedAt = performance.now();
    const answers = await callers.refund(orderIds, WIDTH).finally(() => {
      const seconds = Math.round((performance.now() - startedAt) / 1_000);
      console.log(
        `${backends}: ${count} orders in ${seconds} s with CHAOS_SEED=${SEED}, ${fleet.kills} processes killed,`,
        callers.met,
      );
    });
    const failures = (await Promise.all(ends)).filter((end) => end !== undefined);
    await fleet.whole();

    // None ended by itself, and those that were killed were at work.
    expect([...failures, ...fleet.crashes]).toEqual([]);
    expect(fleet.kills).toBeGreaterThanOrEqual(KILLS_AT_LEAST);
    expect(callers.met.cut).toBeGreaterThan(0);

    const ledger = await shop.ledger();
    const elsewhere = (await bankLedger()).filter(([orderId]) => orderId.includes(shopId));
    const payouts = orderIds.map((orderId) => [orderId, 100]);
    expect([ledger, elsewhere]).toEqual(given.BANK === 'external' ? [[], payouts] : [payouts, []]);
    expect(await shop.orders()).toEqual(orderIds.map((orderId) => [orderId, 'REFUNDED']));
    const refunds = await shop.refunds();
    expect(refunds.map(([orderId]) => orderId)).toEqual(orderIds);

    // Where answer and effect are not one transaction, one that could not be recorded is given, and may be worked out again.
    const mostFirsts = given.BANK === 'external' ? CALLERS : 1;
    for (const [orderId, refundId] of refunds) {
      const told = answers.get(orderId)!;
      expect(told[0]!.json).toEqual({ refundId, orderId, amount: 100, status: 'REFUNDED' });
      expect(told.filter(({ body }) => !body.equals(told[0]!.body))).toEqual([]);
      const firsts = told.filter(({ headers }) => !headers.has('idempotent-replayed'));
      expect(firsts.length).toBeLessThanOrEqual(mostFirsts);
    }

    const records = await shop.records();
    expect(records.map(({ key, state }) => [key, state])).toEqual(
      orderIds.map((orderId) => [`key-${orderId}`, 'completed']),
    );
  },
  6 * PATIENCE_MS,
);

interface Event {
  /** So many orders are answered. */
  readonly after: number;
  readonly happen: () => Promise<void>;
}

/** What happens while so many orders are refunded, in its order. */
function eventsOf(orders: number, fleet: Fleet, servers: readonly Server[]): Event[] {
  const random = randomOf(SEED);
  const kills = Math.max(KILLS_AT_LEAST, Math.round(orders / ORDERS_PER_KILL));
  const ofProcesses = Array.from({ length: kills }, (): Event => {
    const [part, whom] = [random(), random()];
    return { after: part * orders, happen: () => fleet.kill(whom) };
  });
  const crashes = Math.max(1, Math.round(orders / ORDERS_PER_CRASH));
  const ofServers = servers.flatMap((server, i) =>
    Array.from({ length: crashes }, (_, crash): Event => {
      const part = (crash + (i + 0.5) / servers.length) / crashes;
      const downMs = random() * DOWN_MS;
      const happen = async () => {
        await server.kill();
        await sleep(downMs);
        await server.restart();
      };
      return { after: part * orders, happen };
    }),
  );
  return [...ofProcesses, ...ofServers].toSorted((a, b) => a.after - b.after);
}

async function bankLedger(): Promise<[orderId: string, amount: number][]> {
  const response = await fetch(`${bank.url}/payouts`);
  const payouts = (await response.json()) as { orderId: string; amount: number }[];
  return payouts
    .map(({ orderId, amount }): [string, number] => [orderId, amount])
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
}

function failureOf(work: Promise<void>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}
