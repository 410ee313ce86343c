import { randomUUID } from 'node:crypto';
import type { Answer } from '../support/http-app.js';
import { crossed, POSTGRES, REDIS, SHARED_STORES } from '../support/fixtures/grid.js';
import { type PaymentApp, PaymentProcess } from '../support/fixtures/payment-process.js';
import { openStack, type Stack } from '../support/fixtures/stacks.js';

const LEASE_MS = 600;
const STACKS = [...crossed(['redis', 'memory'], SHARED_STORES), ...crossed(['none'], [REDIS, POSTGRES])];

type Kind = 'superseded' | 'guarded' | 'contested' | 'alone';

interface Scene {
  readonly stack: Stack;
  readonly late: PaymentApp;
  readonly app: PaymentApp;
  readonly keys: Record<Kind, string>;
  /** What the successor answered, and what the one that had been stopped answered at last. */
  readonly successors: { superseded: Answer; guarded: Answer; contested: Answer };
  readonly answers: Record<Kind, Answer>;
}

let stopped: PaymentProcess;
let successor: PaymentProcess;
let scenes: Map<string, Scene>;

beforeAll(async () => {
  [stopped, successor] = await Promise.all([PaymentProcess.start(), PaymentProcess.start()]);
  const open = async ({ name, create }: (typeof STACKS)[number]) => {
    const urls = await create();
    const options = { module: { leaseMs: LEASE_MS, backendTimeoutMs: 8_000 } };
    const stack = await openStack(urls);
    const [late, app] = await Promise.all([stopped.open(urls, options), successor.open(urls, options)]);
    const keys = {
      superseded: randomUUID(),
      guarded: randomUUID(),
      contested: randomUUID(),
      alone: randomUUID(),
    };
    return { name, stack, late, app, keys };
  };
  const opened = await Promise.all(STACKS.map(open));
  const begun = opened.map(({ late, keys }) => ({
    superseded: late.pay(keys.superseded, { hold: true }),
    guarded: late.pay(keys.guarded, { hold: true, guarded: true }),
    contested: late.pay(keys.contested, { hold: true }),
    alone: late.pay(keys.alone, { hold: true }),
  }));
  const allKeys = opened.flatMap(({ keys }) => Object.values(keys));
  await Promise.all(allKeys.map((key) => stopped.began(key)));

  stopped.pause();
  const taken = opened.map(async ({ app, keys }) => {
    for (const key of [keys.superseded, keys.guarded]) await successor.go(key);
    const contested = app.payWhenFree(keys.contested, { hold: true });
    const superseded = await app.payWhenFree(keys.superseded, { hold: true });
    const guarded = await app.payWhenFree(keys.guarded, { hold: true, guarded: true });
    await successor.began(keys.contested);
    return { superseded, guarded, contested };
  });
  const successors = await Promise.all(taken);
  stopped.resume();
  for (const key of allKeys) await stopped.go(key);

  const collect = async (i: number) => {
    const { name, ...scene } = opened[i]!;
    const { superseded, guarded, contested, alone } = begun[i]!;
    const answers = {
      superseded: await superseded,
      guarded: await guarded,
      contested: await contested,
      alone: await alone,
    };
    await successor.go(scene.keys.contested);
    const theirs = { ...successors[i]!, contested: await successors[i]!.contested };
    return [name, { ...scene, answers, successors: theirs }] as const;
  };
  scenes = new Map(await Promise.all(opened.map((_, i) => collect(i))));
});
afterAll(() => Promise.all([...scenes.values()].map(({ stack }) => stack.close())));

describe.each(STACKS)('$name, an owner that was stopped for longer than its lease', ({ name }) => {
  let scene: Scene;
  beforeAll(() => {
    scene = scenes.get(name)!;
  });

  it('G15 records nothing and answers what its successor recorded', async () => {
    const { app, late, keys, answers, successors } = scene;
    expect(successors.superseded).toMatchObject({
      status: 201,
      json: { attempt: 2, pid: successor.process.pid },
    });
    expect(answers.superseded.text).toBe(successors.superseded.text);
    expect(answers.superseded.status).toBe(201);
    expect(answers.superseded.headers.get('idempotent-replayed')).toBe('true');
    for (const by of [app, late]) {
      expect((await by.pay(keys.superseded, { hold: true })).text).toBe(successors.superseded.text);
    }
    expect((await late.counters()).lostLeases).toBe(2);
  });

  it('G12 G15 does no second time what assertHeld stands before', async () => {
    const { stack, app, keys, answers, successors } = scene;
    expect(await stack.ledger.payers(keys.guarded)).toEqual([`p${successor.process.pid}`]);
    expect(answers.guarded).toMatchObject({ status: 409, json: { code: 'lease-lost' } });
    expect(answers.guarded.headers.get('content-type')).toContain('application/problem+json');
    expect(answers.guarded.headers.get('cache-control')).toBe('no-store');
    expect(answers.guarded.headers.get('retry-after')).toBe('1');
    const again = await app.pay(keys.guarded, { hold: true, guarded: true });
    expect(again.text).toBe(successors.guarded.text);
  });

  it('G15 is refused with lease-lost while its successor still runs, and disturbs it in nothing', async () => {
    const { app, keys, answers, successors } = scene;
    expect(answers.contested).toMatchObject({ status: 409, json: { code: 'lease-lost' } });
    expect(answers.contested.headers.get('content-type')).toContain('application/problem+json');
    expect(answers.contested.headers.get('cache-control')).toBe('no-store');
    expect(successors.contested).toMatchObject({ status: 201, json: { attempt: 2 } });
    expect((await app.pay(keys.contested, { hold: true })).text).toBe(successors.contested.text);
  });

  it('records its answer when nobody has taken over', async () => {
    const { app, stack, keys, answers } = scene;
    expect(answers.alone).toMatchObject({ status: 201, json: { attempt: 1 } });
    const again = await app.pay(keys.alone, { hold: true });
    expect(again.text).toBe(answers.alone.text);
    expect(await stack.ledger.payers(keys.alone)).toEqual([`p${stopped.process.pid}`]);
  });

  it('G14 had a smaller fence than its successor', async () => {
    const { superseded } = scene.keys;
    const [before, after] = [await stopped.began(superseded), await successor.began(superseded)];
    expect(BigInt(after.fence)).toBeGreaterThan(BigInt(before.fence));
  });
});

it.each(STACKS)('G12 $name: the signal aborted in the process that was stopped', async ({ name }) => {
  const { superseded, guarded, contested } = scenes.get(name)!.keys;
  for (const key of [superseded, guarded, contested]) {
    await stopped.told('aborted', ({ aborted }) => aborted === key);
  }
});

it('G71 nothing was logged as an error', () => {
  expect([...stopped.logged('error'), ...successor.logged('error')]).toEqual([]);
});
