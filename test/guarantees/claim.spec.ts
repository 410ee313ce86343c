import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer } from '../support/http-app.js';
import { POSTGRES, redisUrl, SHARED_STACKS } from '../support/fixtures/grid.js';
import { type PaymentApp, PaymentProcess } from '../support/fixtures/payment-process.js';
import { openStack, type Stack } from '../support/fixtures/stacks.js';

let processes: PaymentProcess[];

beforeAll(async () => {
  processes = await Promise.all([1, 2, 3].map(() => PaymentProcess.start()));
});

describe.each(SHARED_STACKS)('$name', ({ create }) => {
  let stack: Stack;
  let apps: PaymentApp[];
  let key: string;

  beforeAll(async () => {
    const urls = await create();
    stack = await openStack(urls);
    apps = await Promise.all(processes.map((process) => process.open(urls, { module: { leaseMs: 5_000 } })));
  });
  afterAll(() => stack.close());
  beforeEach(() => {
    key = randomUUID();
  });

  /** Calls with several keys, all of them at once, from all processes. */
  async function burst(calls: number, workMs?: number, route?: '/waiting'): Promise<Map<string, Answer[]>> {
    const answers = new Map(Array.from({ length: 5 }, () => [randomUUID() as string, [] as Answer[]]));
    const body = workMs === undefined ? {} : { workMs };
    await Promise.all(
      Array.from({ length: calls }, (_, i) =>
        [...answers].map(async ([one, given]) => given.push(await apps[i % 3]!.pay(one, body, route))),
      ).flat(),
    );
    return answers;
  }

  it.each([
    ['an instant handler', undefined],
    ['a handler of 20 ms', 20],
  ])('G01 of simultaneous calls from three processes one runs, %s', async (_, workMs) => {
    for (const [one, answers] of await burst(12, workMs)) {
      expect(await stack.ledger.payers(one)).toHaveLength(1);
      const given = answers.filter(({ status }) => status === 201);
      expect(given.length).toBeGreaterThan(0);
      expect(new Set(given.map(({ text }) => text)).size).toBe(1);
      for (const { status, json } of answers.filter((answer) => !given.includes(answer))) {
        expect({ status, code: json.code }).toEqual({ status: 409, code: 'in-progress' });
      }
      expect(given.filter(({ headers }) => !headers.get('idempotent-replayed'))).toHaveLength(1);
    }
  });

  it('G01 who waits gets the answer of the one that ran', async () => {
    for (const [one, answers] of await burst(9, 20, '/waiting')) {
      expect(await stack.ledger.payers(one)).toHaveLength(1);
      expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
      expect(answers[0]!.status).toBe(201);
    }
  });

  it('G07 another payload is 422 while the first is running, in its process and in others, and after', async () => {
    const first = apps[0]!.pay(key, { hold: true });
    await processes[0]!.began(key);
    const mismatched = async () => {
      for (const app of apps) {
        const { status, json, text } = await app.pay(key, { hold: true, amount: 501 });
        expect({ status, code: json.code }).toEqual({ status: 422, code: 'key-reused' });
        expect(text).not.toContain(key);
      }
    };
    await mismatched();
    expect((await apps[1]!.pay(key, { hold: true })).json.code).toBe('in-progress');
    await processes[0]!.go(key);
    expect((await first).status).toBe(201);
    await mismatched();
    expect(await stack.ledger.payers(key)).toHaveLength(1);
  });

  it('G07 a waiter with another payload does not wait', async () => {
    const first = apps[0]!.pay(key, { hold: true }, '/waiting');
    await processes[0]!.began(key);
    for (const app of apps) {
      expect((await app.pay(key, { hold: true, amount: 501 }, '/waiting')).json.code).toBe('key-reused');
    }
    await processes[0]!.go(key);
    expect((await first).status).toBe(201);
  });

  it('G06 an expired answer is taken over by one of many, its payload and its answer are gone', async () => {
    const before = await apps[0]!.pay(key, {}, '/forgetful');
    await sleep(250);
    const answers = await Promise.all(
      Array.from({ length: 9 }, (_, i) => apps[i % 3]!.pay(key, { amount: 700, workMs: 20 })),
    );
    expect(await stack.ledger.payers(key)).toHaveLength(2);
    const given = answers.filter(({ status }) => status === 201);
    expect(new Set(given.map(({ text }) => text)).size).toBe(1);
    expect(given[0]!.json).toMatchObject({ attempt: 1 });
    expect(answers.every(({ text, status }) => text !== before.text && [201, 409].includes(status))).toBe(
      true,
    );
    expect((await apps[1]!.pay(key)).json.code).toBe('key-reused');
  });
});

it('F20 two hundred who wait in three processes all get the one answer', async () => {
  const urls = { lock: redisUrl(), store: await POSTGRES.create() };
  await using stack = await openStack(urls);
  const apps = await Promise.all(processes.map((process) => process.open(urls)));
  const key = randomUUID();
  const first = apps[0]!.pay(key, { hold: true }, '/waiting');
  await processes[0]!.began(key);
  const waiting = Array.from({ length: 200 }, (_, i) => apps[i % 3]!.pay(key, { hold: true }, '/waiting'));
  // Some of them have arrived, some have not.
  await sleep(100);
  await processes[0]!.go(key);
  const { text } = await first;
  expect(text).toContain('paymentId');
  for (const answer of await Promise.all(waiting)) {
    expect({ status: answer.status, text: answer.text }).toEqual({ status: 201, text });
  }
  expect(await stack.ledger.payers(key)).toHaveLength(1);
});

it('G71 contention was logged by nobody, and nobody lost a lease', () => {
  for (const process of processes) {
    expect(process.logged('error')).toEqual([]);
    expect(process.logged('warn')).toEqual([]);
  }
});
