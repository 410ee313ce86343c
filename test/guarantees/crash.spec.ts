import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { crossed, POSTGRES, REDIS, SHARED_STORES } from '../support/fixtures/grid.js';
import { type PaymentApp, PaymentProcess } from '../support/fixtures/payment-process.js';
import { openStack, type Stack } from '../support/fixtures/stacks.js';

const LEASE_MS = 600;
const STACKS = [...crossed(['redis'], SHARED_STORES), ...crossed(['none'], [REDIS, POSTGRES])];
const POINTS = ['before-claim', 'after-claim', 'before-record', 'after-record'] as const;

type Point = (typeof POINTS)[number];

/** What a stack looks like once the process that was at all four points is gone. */
interface Scene {
  readonly stack: Stack;
  /** Of the survivor. */
  readonly app: PaymentApp;
  readonly cautious: PaymentApp;
  readonly keys: Record<Point, string>;
  readonly cautiousKey: string;
}

let survivor: PaymentProcess;
let scenes: Map<string, Scene>;

beforeAll(async () => {
  const [victim, other] = await Promise.all([PaymentProcess.start(), PaymentProcess.start()]);
  survivor = other;
  const cut: Promise<unknown>[] = [];
  const arrived: Promise<unknown>[] = [];
  const prepare = async ({ name, create }: (typeof STACKS)[number]) => {
    const urls = await create();
    const options = { module: { leaseMs: LEASE_MS } };
    const cautiously = { module: { leaseMs: LEASE_MS, onOrphan: 'uncertain' } } as const;
    const stack = await openStack(urls);
    const [doomed, app, cautious] = await Promise.all([
      victim.open(urls, { ...options, freezes: true }),
      survivor.open(urls, options),
      survivor.open(urls, cautiously),
    ]);
    const keys = Object.fromEntries(POINTS.map((point) => [point, `${point}:${randomUUID()}`]));
    const cautiousKey = randomUUID();
    const calls = [
      ...Object.values(keys).map((key) => doomed.pay(key)),
      doomed.pay(cautiousKey, { hold: true }),
    ];
    cut.push(...calls.map((call) => expect(call).rejects.toThrow()));
    arrived.push(...Object.values(keys).map((key) => victim.frozen(key)), victim.began(cautiousKey));
    return [name, { stack, app, cautious, keys: keys as Scene['keys'], cautiousKey }] as const;
  };
  scenes = new Map(await Promise.all(STACKS.map(prepare)));
  await Promise.all(arrived);
  await victim.kill();
  await Promise.all(cut);
});
afterAll(() => Promise.all([...scenes.values()].map(({ stack }) => stack.close())));

describe.each(STACKS)('$name', ({ name }) => {
  let scene: Scene;
  beforeAll(() => {
    scene = scenes.get(name)!;
  });

  it('G50 killed before the claim: another runs it, as the first attempt', async () => {
    const key = scene.keys['before-claim'];
    // With a lock, the lock of the dead has to run out.
    const answer = await scene.app.payWhenFree(key);
    expect(answer).toMatchObject({ status: 201, json: { attempt: 1, pid: survivor.process.pid } });
    expect(await scene.stack.ledger.payers(key)).toHaveLength(1);
  });

  it('G50 killed after the claim and before the handler: another runs it after the lease, as the second', async () => {
    const key = scene.keys['after-claim'];
    const answer = await scene.app.payWhenFree(key);
    expect(answer).toMatchObject({ status: 201, json: { attempt: 2, pid: survivor.process.pid } });
    expect(await scene.stack.ledger.payers(key)).toHaveLength(1);
    const again = await scene.app.pay(key);
    expect({ text: again.text, replayed: again.headers.get('idempotent-replayed') }).toEqual({
      text: answer.text,
      replayed: 'true',
    });
  });

  it('G51 killed after the effect and before the record: onOrphan retry runs it again, and says so', async () => {
    const key = scene.keys['before-record'];
    const answer = await scene.app.payWhenFree(key);
    expect(answer).toMatchObject({ status: 201, json: { attempt: 2 } });
    expect(await scene.stack.ledger.payers(key)).toHaveLength(2);
  });

  it('G51 onOrphan uncertain refuses it for good, and knows another payload', async () => {
    const { cautious, app, stack, cautiousKey: key } = scene;
    const answer = await cautious.payWhenFree(key, { hold: true });
    expect(answer.json.code).toBe('outcome-uncertain');
    await sleep(LEASE_MS);
    for (const by of [cautious, app]) {
      const later = await by.pay(key, { hold: true });
      expect(later).toMatchObject({ status: 409, json: { code: 'outcome-uncertain' } });
      expect((await by.pay(key, { amount: 1 })).json.code).toBe('key-reused');
    }
    expect(await stack.ledger.payers(key)).toEqual([]);
    expect((await cautious.counters()).uncertain).toBe(1);
  });

  it('G53 killed after the record and before the reply: replay', async () => {
    const key = scene.keys['after-record'];
    const answer = await scene.app.pay(key);
    expect(answer).toMatchObject({ status: 201, json: { attempt: 1 } });
    expect(answer.headers.get('idempotent-replayed')).toBe('true');
    expect(answer.json.pid).not.toBe(survivor.process.pid);
    expect(await scene.stack.ledger.payers(key)).toHaveLength(1);
  });
});

it('G71 the survivor logged no error', () => {
  expect(survivor.logged('error')).toEqual([]);
});
