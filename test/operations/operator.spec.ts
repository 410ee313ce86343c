import { Body, ConflictException, Controller, Injectable, Post } from '@nestjs/common';
import {
  ActRefusedError,
  Idempotent,
  IdempotencyContext,
  IdempotencyCtx,
  IdempotencyOptionsError,
  IdempotencyService,
  memoryLock,
  memoryStore,
} from 'nestjs-idempotent';
import { Operator } from '../../lib/operations/operator.js';
import { ANSWER, identityOf, TestNode } from '../support/fixtures/node.js';
import {
  expectProblem,
  expectReplayOf,
  Gate,
  PLATFORMS,
  startApp,
  type TestApp,
} from '../support/http-app.js';

const ACT = { by: 'anna', reason: 'ticket 17' };

let gate: Gate;
let runs: IdempotencyContext[];

/** The first one hangs. */
async function slowly(context: IdempotencyContext, fast = false): Promise<{ run: number }> {
  const run = runs.push(context);
  if (!fast && run === 1) await gate.opened;
  return { run };
}

@Controller()
class Refunds {
  @Post('slow')
  @Idempotent()
  slow(@IdempotencyCtx() context: IdempotencyContext, @Body() { fast }: { fast?: boolean }) {
    return slowly(context, fast);
  }

  @Post('waiting')
  @Idempotent({ onConflict: 'wait' })
  waiting(@IdempotencyCtx() context: IdempotencyContext) {
    return slowly(context);
  }

  @Post('unsure')
  @Idempotent({ onError: 'uncertain' })
  unsure(@IdempotencyCtx() context: IdempotencyContext) {
    runs.push(context);
    if (context.attempt === 1) throw new Error('the bank did not answer: secret');
    return { run: runs.length };
  }
}

@Injectable()
class Payouts {
  @Idempotent('payout:{args.0}', { onError: 'uncertain' })
  async pay(_id: string): Promise<unknown> {
    throw new Error('the bank did not answer');
  }
}

let app: TestApp;
let service: IdempotencyService;

async function start(platform: 'express' | 'fastify' = 'express'): Promise<void> {
  gate = new Gate();
  runs = [];
  app = await startApp({
    platform,
    controllers: [Refunds],
    providers: [Payouts],
    module: { leaseMs: 60_000 },
  });
  service = app.app.get(IdempotencyService);
}

afterEach(() => app?.close());

async function idOf(scope: string, key: string): Promise<string> {
  const { records } = await service.list({ scope });
  return records.find((record) => record.key === key)!.id;
}

/** Waits until the handler has begun. */
async function began(count = 1): Promise<void> {
  while (runs.length < count) await new Promise((resolve) => setTimeout(resolve, 5));
}

describe.each(PLATFORMS)('G51 %s', (platform) => {
  beforeEach(() => start(platform));

  it('release takes the key from a handler that hangs; what it answers late is not recorded', async () => {
    const stuck = app.post('/slow', 'k', {});
    await began();
    expectProblem(await app.post('/slow', 'k', {}), 409, 'in-progress');
    const id = await idOf('Refunds.slow', 'k');
    await service.release(id, ACT);
    expect(runs[0]!.signal.aborted).toBe(true);
    expect(() => runs[0]!.assertHeld()).toThrow('Ownership');

    const second = await app.post('/slow', 'k', {});
    expect(second).toMatchObject({ status: 201, json: { run: 2 } });
    expect(runs[1]).toMatchObject({ attempt: 2 });
    gate.open();
    // The late one is answered with what its successor recorded.
    expectReplayOf(second, await stuck);
    expectReplayOf(second, await app.post('/slow', 'k', {}));
    expect(app.counters).toMatchObject({ claims: 2, lostLeases: 1 });
    expect(await service.audit(id)).toEqual([
      expect.objectContaining({
        ...ACT,
        id,
        act: 'free',
        state: 'running',
        attempt: 1,
        key: 'k',
        scope: 'Refunds.slow',
      }),
    ]);
  });

  it('a released handler that ends first records nothing either', async () => {
    const stuck = app.post('/slow', 'k', {});
    await began();
    await service.release(await idOf('Refunds.slow', 'k'), ACT);
    gate.open();
    expectProblem(await stuck, 409, 'lease-lost');
    expect((await app.post('/slow', 'k', {})).json).toEqual({ run: 2 });
  });

  it('who waits for a handler that hangs runs when it is released', async () => {
    const stuck = app.post('/waiting', 'k', {});
    await began();
    const waiting = [app.post('/waiting', 'k', {}), app.post('/waiting', 'k', {})];
    await service.release(await idOf('Refunds.waiting', 'k'), ACT);
    expect((await Promise.all(waiting)).map(({ json }) => json)).toEqual([{ run: 2 }, { run: 2 }]);
    gate.open();
    expect((await stuck).json).toEqual({ run: 2 });
  });

  it.each<[string, object, object]>([
    [
      'an HTTP answer',
      { status: 202, headers: { Location: '/refunds/7', link: ['</a>', '</b>'] }, body: { refundId: 7 } },
      {
        status: 202,
        text: '{"refundId":7}',
        headers: {
          'content-type': 'application/json; charset=utf-8',
          location: '/refunds/7',
          link: '</a>, </b>',
        },
      },
    ],
    [
      'text',
      { status: 200, body: 'done' },
      { status: 200, text: 'done', headers: { 'content-type': 'text/plain; charset=utf-8' } },
    ],
    [
      'bytes',
      { status: 200, body: Buffer.from('%PDF') },
      { status: 200, text: '%PDF', headers: { 'content-type': 'application/octet-stream' } },
    ],
    ['a value', { value: { run: 'by hand' } }, { status: 201, text: '{"run":"by hand"}' }],
    [
      'an error',
      { error: new ConflictException('no such order') },
      { status: 409, text: expect.stringContaining('no such order') },
    ],
  ])('resolve answers duplicates of an uncertain call with %s', async (_, response, expected) => {
    expect((await app.post('/unsure', 'k', {})).status).toBe(500);
    expectProblem(await app.post('/unsure', 'k', {}), 409, 'outcome-uncertain');
    const id = await idOf('Refunds.unsure', 'k');
    await service.resolve(id, { ...ACT, response: response as { value: unknown } });
    for (let round = 0; round < 3; round++) {
      const answer = await app.post('/unsure', 'k', {});
      const { headers = {}, ...rest } = expected as { headers?: Record<string, string> };
      expect(answer).toMatchObject(rest);
      expect(Object.fromEntries(answer.headers)).toMatchObject({ ...headers, 'idempotent-replayed': 'true' });
    }
    expectProblem(await app.post('/unsure', 'k', { other: 1 }), 422, 'key-reused');
    expect(runs).toHaveLength(1);
    expect(await service.audit(id)).toMatchObject([{ act: 'answer', state: 'uncertain', ...ACT }]);
  });

  it('resolve retry lets the next call run, as the next attempt', async () => {
    await app.post('/unsure', 'k', {});
    await service.resolve(await idOf('Refunds.unsure', 'k'), { ...ACT, response: 'retry' });
    expectProblem(await app.post('/unsure', 'k', { other: 1 }), 422, 'key-reused');
    expect((await app.post('/unsure', 'k', {})).json).toEqual({ run: 2 });
    expect(runs[1]).toMatchObject({ attempt: 2 });
  });
});

describe('G51', () => {
  it('a method gets the value, or the error', async () => {
    await start();
    const payouts = app.app.get(Payouts);
    for (const key of ['a', 'b']) await expect(payouts.pay(key)).rejects.toThrow('the bank did not answer');
    const value = { at: new Date(0), cents: 5n };
    await service.resolve(await idOf('Payouts.pay', 'payout:a'), { ...ACT, response: { value } });
    await service.resolve(await idOf('Payouts.pay', 'payout:b'), {
      ...ACT,
      response: { error: new Error('declined') },
    });
    expect(await payouts.pay('a')).toEqual(value);
    await expect(payouts.pay('b')).rejects.toThrow('declined');
  });

  it('acts that cannot be done say what is there instead, and nothing of what it answers', async () => {
    await start();
    const refused = (code: string) => expect.objectContaining({ name: 'ActRefusedError', code });
    const answer = { ...ACT, response: { value: 'top secret' } } as const;
    const stuck = app.post('/slow', 'k', {});
    await began();
    const id = await idOf('Refunds.slow', 'k');
    await expect(service.resolve(id, answer)).rejects.toThrow(
      /left as it is: its owner is at work; wait until/,
    );
    await expect(service.resolve(id, { ...ACT, response: 'retry' })).rejects.toEqual(refused('live'));
    await service.release(id, ACT);
    await expect(service.release(id, ACT)).rejects.toEqual(refused('free'));
    await expect(service.resolve(id, { ...ACT, response: 'retry' })).rejects.toEqual(refused('free'));
    await service.resolve(id, answer);
    for (const act of [service.release(id, ACT), service.resolve(id, answer)]) {
      await expect(act).rejects.toEqual(refused('completed'));
      await expect(act).rejects.not.toThrow('secret');
    }
    await expect(service.release('0'.repeat(64), ACT)).rejects.toBeInstanceOf(ActRefusedError);
    await expect(service.release('0'.repeat(64), ACT)).rejects.toThrow(
      'Record 000000000000 was left as it is: there is none: it expired, was forgotten, or never was',
    );
    expect((await service.audit(id)).map(({ act }) => act)).toEqual(['free', 'answer']);
    gate.open();
    // Recorded as a value that was never sent: the late one cannot make an answer of it any more.
    expectProblem(await stuck, 409, 'response-not-replayable');
  });

  it.each<[string, object, string]>([
    [
      'by',
      { reason: 'x', response: 'retry' },
      'by is undefined; it must be a text of 1 to 255 characters that tells who acts',
    ],
    ['by', { by: '', reason: 'x', response: 'retry' }, 'by is ""; it must be a text of 1 to 255'],
    ['reason', { by: 'anna', response: 'retry' }, 'reason is undefined; it must be a text of 1 to 2000'],
    [
      'reason',
      { by: 'anna', reason: 'x'.repeat(2_001), response: 'retry' },
      'it must be a text of 1 to 2000',
    ],
    ['others', { ...ACT, response: 'retry', force: true }, 'force is not an option here'],
    ['response', ACT, 'the answer is a undefined; it must be { status, headers?, body? }'],
    ['response', { ...ACT, response: 'again' }, 'the answer is a string; it must be'],
    ['response', { ...ACT, response: {} }, 'the answer has none of the three'],
    [
      'response',
      { ...ACT, response: { status: 200, value: 1 } },
      'the answer has status and value of the three',
    ],
    ['status', { ...ACT, response: { status: 99 } }, 'status is 99; it must be from 200 to 599'],
    [
      'status',
      { ...ACT, response: { status: 401 } },
      'status is 401; it must be from 200 to 599 and none of 401',
    ],
    ['error', { ...ACT, response: { error: 'secret' } }, 'error is a string; it must be an Error'],
    [
      'headers',
      { ...ACT, response: { status: 200, headers: { 'Set-Cookie': 'a' } } },
      'header Set-Cookie is never replayed',
    ],
    ['headers', { ...ACT, response: { status: 200, headers: { etag: 5 } } }, 'header etag must be a text'],
    ['value', { ...ACT, response: { value: () => 1 } }, 'the value cannot be stored'],
    ['body', { ...ACT, response: { status: 200, body: 5n } }, 'the body cannot be made into JSON'],
    [
      'body',
      { ...ACT, response: { status: 200, body: 'secret'.repeat(200_000) } },
      'it must have at most maxResponseBytes, which is 1048576',
    ],
  ])('G83 resolve checks what it is given: %s', async (_, request, message) => {
    await start();
    await app.post('/unsure', 'k', {});
    const id = await idOf('Refunds.unsure', 'k');
    const resolving = service.resolve(id, request as never);
    await expect(resolving).rejects.toThrow(`IdempotencyService.resolve: `);
    await expect(resolving).rejects.toThrow(message);
    await expect(resolving).rejects.toBeInstanceOf(IdempotencyOptionsError);
    await expect(resolving).rejects.not.toThrow('secret');
    expect(await service.find(id)).toMatchObject({ state: 'uncertain' });
    expect(await service.audit(id)).toEqual([]);
  });

  it('G83 release and list check what they are given', async () => {
    await start();
    await expect(service.release('0'.repeat(64), {} as never)).rejects.toThrow(
      'IdempotencyService.release: by is undefined',
    );
    await expect(service.release('0'.repeat(64), undefined as never)).rejects.toThrow(
      'they must be an object',
    );
    for (const [wrong, message] of [
      [{ state: 'lost' }, "state is \"lost\"; it must be 'running', 'completed', 'uncertain' or 'stuck'"],
      [{ limit: 0 }, 'limit is 0; it must be an integer from 1 to 1000'],
      [{ olderThanMs: -1 }, 'olderThanMs is -1; it must be an integer of at least 0 (milliseconds)'],
      [{ before: 1 }, 'before is not an option here'],
    ] as const) {
      await expect(service.list(wrong as never)).rejects.toThrow(`IdempotencyService.list: ${message}`);
    }
    const made = service.list({ cursor: 'made' });
    await expect(made).rejects.toThrow(IdempotencyOptionsError);
    await expect(made).rejects.toThrow('cursor is "made"; it must be that of the page before');
  });

  it('lists by state, page by page, and finds by id', async () => {
    await start();
    for (const key of ['a', 'b', 'c']) await app.post('/slow', key, { fast: true });
    await app.post('/unsure', 'u', {});
    const first = await service.list({ state: 'completed', limit: 2 });
    const second = await service.list({ state: 'completed', limit: 2, cursor: first.cursor! });
    expect([...first.records, ...second.records].map(({ key }) => key).sort()).toEqual(['a', 'b', 'c']);
    expect(second.cursor).toBeNull();
    expect(JSON.stringify(first.records)).not.toContain('run');
    expect((await service.list({ state: 'completed', olderThanMs: 60_000 })).records).toEqual([]);
    const { records } = await service.list();
    expect(records).toHaveLength(4);
    for (const { id, key } of records) expect(await service.find(id)).toMatchObject({ id, key });
  });
});

describe('an owner in another process', () => {
  const ask = { key: 'a' };
  const { id } = identityOf(ask);

  it.each([
    ['no lock', undefined],
    ['a lock', memoryLock()],
  ])(
    'with %s: the key is free at once, although its lock is taken; the owner learns it by renewing',
    async (_, lock) => {
      const store = memoryStore();
      const [first, second] = [1, 2].map(() => new TestNode({ store, lock, options: { leaseMs: 300 } }));
      const operator = new Operator({ principal: 'none', store }, second!.engine, store);
      const owner = await first!.own(ask);
      await operator.release(id, ACT);
      const heir = await second!.own(ask);
      expect(heir.attempt).toBe(2);
      expect(heir.fence).toBeGreaterThan(owner.fence);
      if (!owner.signal.aborted)
        await new Promise((resolve) => owner.signal.addEventListener('abort', resolve));
      expect(heir.isHeld()).toBe(true);
      expect(await owner.complete({ ...ANSWER, status: 500 })).toMatchObject({ recorded: false });
      expect(await heir.complete(ANSWER)).toEqual({ recorded: true });
      expect((await first!.begin(ask)).kind).toBe('replay');
    },
  );

  it('of two operators and the owner at once one is right, and everybody is told the same', async () => {
    for (let round = 0; round < 20; round++) {
      const store = memoryStore();
      const nodes = [1, 2, 3].map(() => new TestNode({ store }));
      const operators = nodes.map(({ engine }) => new Operator({ principal: 'none', store }, engine, store));
      const owner = await nodes[0]!.own(ask);
      const acts = [
        owner.complete(ANSWER).then(({ recorded }) => recorded),
        ...operators.map((operator) =>
          operator.release(id, ACT).then(
            () => true,
            () => false,
          ),
        ),
      ];
      const done = await Promise.all(acts);
      expect(done.filter(Boolean)).toHaveLength(1);
      const begun = await nodes[1]!.begin(ask);
      expect(begun.kind).toBe(done[0] ? 'replay' : 'run');
      expect(await operators[0]!.audit(id)).toHaveLength(done[0] ? 0 : 1);
    }
  });
});
