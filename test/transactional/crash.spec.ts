import { randomUUID } from 'node:crypto';
import type { DataSource } from 'typeorm';
import { type Flavour, MARIADB, openMigrated, POSTGRES, SQLITE } from '../stores/typeorm-flavours.js';
import { expectReplayOf } from '../support/http-app.js';
import {
  POINTS,
  type Point,
  type Shop,
  ShopProcess,
  STEP_POINTS,
  TRANSACTION_POINTS,
} from './fixtures/shop-process.js';

/** Long enough for all to be at their points before the first is over; SQLite renews none beside a transaction. */
const CRASH_LEASE_MS = 2_500;
const LEASE_MS = 700;
const DATABASES = [POSTGRES, MARIADB, SQLITE];

/** One point of one database: the key that was at it, and what is left. */
interface Scene {
  readonly key: string;
  readonly app: Shop;
  readonly witness: DataSource;
}

let victim: ShopProcess;
let survivor: ShopProcess;
let scenes: Map<string, Scene>;

/** Resolves when the process that was to answer is gone. */
async function refused(answer: Promise<unknown>): Promise<void> {
  const end = await answer.catch((error: Error) => error.message);
  if (end !== 'fetch failed') throw new Error('The victim answered', { cause: end });
}

async function database(flavour: Flavour): Promise<{ url: string; witness: DataSource }> {
  const options = await flavour.create();
  const witness = await openMigrated(options);
  for (const table of ['ledger', 'outside'])
    await witness.query(`CREATE TABLE ${table} (account varchar(100), detail varchar(100))`);
  const url = 'url' in options && options.url ? options.url : `sqlite:${String(options.database)}`;
  return { url, witness };
}

beforeAll(async () => {
  [victim, survivor] = await Promise.all([ShopProcess.start(), ShopProcess.start()]);
  scenes = new Map();
  const doomed: [Shop, Point, string][] = [];
  for (const flavour of DATABASES) {
    const shared = flavour === SQLITE ? undefined : await database(flavour);
    const open = async (url: string) => [
      await victim.open(url, CRASH_LEASE_MS, true),
      await survivor.open(url, CRASH_LEASE_MS, false),
    ];
    const apps = shared && (await open(shared.url));
    for (const point of POINTS) {
      // A SQLite file has one writer, and somebody who is stopped in a transaction is it.
      const { url, witness } = shared ?? (await database(flavour));
      const [shop, app] = (apps ?? (await open(url))) as [Shop, Shop];
      const key = `${point}:${randomUUID()}`;
      doomed.push([shop, point, key]);
      scenes.set(`${flavour.name} ${point}`, { key, app, witness });
    }
  }
  const cut = doomed.map(([shop, point, key]) => refused(shop.post(routeOf(point), key)));
  await Promise.all([...scenes.values()].map(({ key }) => victim.frozen(key)));
  await victim.process.kill('SIGKILL');
  await Promise.all(cut);
}, 60_000);

afterAll(async () => {
  await survivor.process.stop();
  const witnesses = new Set([...scenes.values()].map(({ witness }) => witness));
  await Promise.all([...witnesses].map((witness) => witness.destroy()));
});

function routeOf(point: Point): 'transactional' | 'steps' {
  return STEP_POINTS.some((name) => name === point) ? 'steps' : 'transactional';
}

async function rows({ witness, key }: Scene, table: 'ledger' | 'outside'): Promise<string[]> {
  const found: { detail: string }[] = await witness.query(
    `SELECT detail FROM ${table} WHERE account = '${key}'`,
  );
  return found.map(({ detail }) => detail);
}

const byVictim = () => `p${victim.process.pid}`;
const bySurvivor = () => `p${survivor.process.pid}`;

describe.each(DATABASES)('$name', ({ name }) => {
  const GUARANTEE = { 'before-claim': 'G50', 'after-claim': 'G50', 'after-commit': 'G52' } as Record<
    Point,
    string
  >;

  it.each(TRANSACTION_POINTS.map((point) => [GUARANTEE[point] ?? 'G51', point] as const))(
    '%s killed %s of a transactional call: one payout, one answer',
    async (_, point) => {
      const scene = scenes.get(`${name} ${point}`)!;
      const answer = await scene.app.postWhenFree('transactional', scene.key);
      const isCommitted = point === 'after-commit';
      const payer = isCommitted ? byVictim() : bySurvivor();
      const attempt = isCommitted || point === 'before-claim' ? 1 : 2;
      expect(answer).toMatchObject({ status: 201, json: { attempt, payer } });
      expect(await rows(scene, 'ledger')).toEqual([payer]);
      const again = await scene.app.post('transactional', scene.key);
      expect([again.text, again.headers.get('idempotent-replayed')]).toEqual([answer.text, 'true']);
      expect(await rows(scene, 'ledger')).toEqual([payer]);
    },
  );

  it.each(STEP_POINTS)('G51 killed %s: what is recorded is not done again', async (point) => {
    const scene = scenes.get(`${name} ${point}`)!;
    const answer = await scene.app.postWhenFree('steps', scene.key);
    const charged = { by: point === 'before-step-record' ? bySurvivor() : byVictim() };
    const booked = { by: point === 'after-step-commit' ? byVictim() : bySurvivor() };
    expect(answer).toMatchObject({ status: 201, json: { attempt: 2, charged, booked } });
    const outside = await rows(scene, 'outside');
    // The one point nobody can close: the effect is done, the record is not. The downstream key is the same.
    expect(outside).toHaveLength(point === 'before-step-record' ? 2 : 1);
    expect(new Set(outside).size).toBe(1);
    expect(await rows(scene, 'ledger')).toEqual([booked.by]);
    expectReplayOf(answer, await scene.app.post('steps', scene.key));
    expect(await rows(scene, 'ledger')).toEqual([booked.by]);
  });
});

it.each(DATABASES)(
  'G14 G15 stopped longer than the lease: a late owner’s writes are rolled back: $name',
  async (flavour) => {
    await using late = await ShopProcess.start();
    const { url, witness } = await database(flavour);
    const lateShop = await late.open(url, LEASE_MS, true);
    const shop = await survivor.open(url, LEASE_MS, false);
    // The only writer of a SQLite file cannot be overtaken, so there it is stopped before it writes.
    const key = `${flavour === SQLITE ? 'before-write' : 'in-handler'}:${randomUUID()}`;
    const first = lateShop.post('transactional', key);
    await late.frozen(key);
    late.process.pause();
    const answer = await shop.postWhenFree('transactional', key);
    expect(answer).toMatchObject({ status: 201, json: { attempt: 2, payer: bySurvivor() } });
    late.process.resume();
    await late.go(key);
    const overtaken = await first;
    // Before it wrote it was told that it is too late; after that its successor's answer is its own.
    const told = flavour === SQLITE ? [409, 'lease-lost'] : [201, undefined];
    expect([overtaken.status, overtaken.json.code]).toEqual(told);
    expect(await rows({ key, app: shop, witness }, 'ledger')).toEqual([bySurvivor()]);
    expect(await survivor.fence(key, 2)).toBeGreaterThan(await late.fence(key, 1));
    await witness.destroy();
  },
);

it('G71 nobody logged an error, nor ended by a rejection', () => {
  expect(survivor.errors).toEqual([]);
  expect(survivor.process.running).toBe(true);
});
