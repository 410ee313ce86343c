import { setTimeout as sleep } from 'node:timers/promises';
import { Body, Controller, Injectable, Post } from '@nestjs/common';
import {
  Idempotent,
  IdempotencyContext,
  IdempotencyCtx,
  IdempotencyService,
  memoryStore,
  type Reconcile,
  type ReconcileAnswer,
  type UncertainCall,
} from 'nestjs-idempotent';
import type { Finding } from '../../lib/engine/reconciler.js';
import { newAct } from '../support/store-suite.js';
import { ANSWER, identityOf, TestNode } from '../support/fixtures/node.js';
import { wrapped } from '../support/fixtures/wrapped.js';
import {
  altered,
  eventually,
  expectProblem,
  Gate,
  MemoryLogger,
  PLATFORMS,
  startApp,
  type TestApp,
} from '../support/http-app.js';

let asked: UncertainCall[];
let answer: (call: UncertainCall) => ReconcileAnswer | Promise<ReconcileAnswer>;
let contexts: IdempotencyContext[];

const reconcile: Reconcile = (call) => {
  asked.push(call);
  return answer(call);
};
const UNSURE = { onError: 'uncertain', reconcile } as const;

@Injectable()
class Bank {
  readonly payouts = new Map<string, string>();
}

@Injectable()
class Payouts {
  @Idempotent('payout:{args.0}', UNSURE)
  async pay(_id: string): Promise<unknown> {
    contexts.push(IdempotencyContext.current()!);
    if (contexts.length === 1) throw new Error('the bank did not answer');
    return 'paid';
  }
}

@Controller()
class Refunds {
  constructor(private readonly bank: Bank) {}

  @Post('refund')
  @Idempotent(UNSURE)
  refund(@IdempotencyCtx() context: IdempotencyContext, @Body() { lost }: { lost?: boolean }) {
    contexts.push(context);
    if (!lost) this.bank.payouts.set(context.deriveKey('payout'), 'p-1');
    if (context.attempt === 1) throw new Error('the bank did not answer');
    return { attempt: context.attempt };
  }

  @Post('waiting')
  @Idempotent({ ...UNSURE, onConflict: 'wait' })
  waiting() {
    throw new Error('the bank did not answer');
  }

  @Post('impatient')
  @Idempotent({ ...UNSURE, reconcileTimeoutMs: 50 })
  impatient() {
    throw new Error('the bank did not answer');
  }

  @Post('fine')
  @Idempotent({ reconcile, backendTimeoutMs: 100 })
  fine() {
    return 'fine';
  }
}

let app: TestApp;
let logger: MemoryLogger;

async function start(platform: (typeof PLATFORMS)[number] = 'express', module = {}): Promise<void> {
  asked = [];
  contexts = [];
  logger = new MemoryLogger();
  app = await startApp({ platform, controllers: [Refunds], providers: [Bank, Payouts], logger, module });
}

afterEach(() => app?.close());

const service = () => app.app.get(IdempotencyService);
const findPayout = (call: UncertainCall): ReconcileAnswer => {
  const payout = call.get(Bank).payouts.get(call.deriveKey('payout'));
  return payout ? { status: 201, body: { payout, orderId: call.call.body.orderId } } : 'retry';
};

describe.each(PLATFORMS)('G51 reconcile on %s', (platform) => {
  beforeEach(() => start(platform));

  it('done: the duplicate and all after it get that answer, and the audit says who', async () => {
    answer = findPayout;
    const body = { orderId: 'o-1' };
    expect((await app.post('/refund', 'k', body)).status).toBe(500);
    for (let round = 0; round < 3; round++) {
      const duplicate = await app.post('/refund', 'k', body);
      expect(duplicate).toMatchObject({ status: 201, json: { payout: 'p-1', orderId: 'o-1' } });
      expect(duplicate.headers.get('idempotent-replayed')).toBe('true');
    }
    expect(contexts).toHaveLength(1);
    expect(asked).toEqual([expect.objectContaining({ scope: 'Refunds.refund', key: 'k', attempt: 1 })]);
    expect(app.counters).toMatchObject({ uncertain: 1, reconciled: 1, claims: 1 });
    const { id } = (await service().list({ state: 'completed' })).records[0]!;
    expect(await service().audit(id)).toMatchObject([
      { by: 'reconcile', act: 'answer', reason: 'Refunds.refund: it was done' },
    ]);
  });

  it('not done: the duplicate runs again, as the next attempt', async () => {
    answer = findPayout;
    await app.post('/refund', 'k', { lost: true });
    expect((await app.post('/refund', 'k', { lost: true })).json).toEqual({ attempt: 2 });
    expect(asked).toHaveLength(1);
    const { id } = (await service().list({ state: 'completed' })).records[0]!;
    expect(await service().audit(id)).toMatchObject([{ by: 'reconcile', act: 'free', state: 'uncertain' }]);
  });

  it('not known: refused, and not asked again at once', async () => {
    answer = () => 'unknown';
    await app.post('/refund', 'k', {});
    for (let round = 0; round < 3; round++)
      expectProblem(await app.post('/refund', 'k', {}), 409, 'outcome-uncertain');
    expect(asked).toHaveLength(1);
    expectProblem(await app.post('/refund', 'k', { other: 1 }), 422, 'key-reused');
    expect(logger.lines.join()).not.toContain('hook');
  });

  it('a value or an error is made into an answer as the handler’s own would be', async () => {
    answer = ({ key }) => (key === 'a' ? { value: { by: 'value' } } : { error: new Error('declined') });
    for (const key of ['a', 'b']) await app.post('/refund', key, {});
    for (let round = 0; round < 2; round++) {
      expect(await app.post('/refund', 'a', {})).toMatchObject({ status: 201, json: { by: 'value' } });
      expect((await app.post('/refund', 'b', {})).status).toBe(500);
    }
    expect(contexts).toHaveLength(2);
  });
});

describe('G51 reconcile', () => {
  it('asks once for many duplicates: who does not wait is refused, who waits is answered', async () => {
    await start();
    const gate = new Gate();
    answer = async () => {
      await gate.opened;
      return { value: 'found' };
    };
    for (const path of ['/refund', '/waiting']) {
      await app.post(path, 'k', {});
      asked = [];
      const duplicates = Array.from({ length: 8 }, () => app.post(path, 'k', {}));
      await eventually(() => expect(asked).toHaveLength(1));
      if (path === '/refund') {
        const [first] = await Promise.all([Promise.race(duplicates), sleep(50)]);
        expectProblem(first, 409, 'outcome-uncertain');
      }
      gate.open();
      const texts = (await Promise.all(duplicates)).map(({ status, text }) => (status === 409 ? 409 : text));
      expect(new Set(texts)).toEqual(new Set(path === '/refund' ? [409, 'found'] : ['found']));
      expect(asked).toHaveLength(1);
    }
  });

  it.each<[string, () => unknown, string]>([
    [
      'throws',
      () => {
        throw new Error('no route to the bank');
      },
      'no route to the bank',
    ],
    ['rejects', () => Promise.reject(new Error('no route to the bank')), 'no route to the bank'],
    ['never ends', () => new Promise(() => undefined), 'did not answer within 50 ms'],
    ['answers nonsense', () => 'done', 'the answer is a string'],
    ['answers nothing', () => undefined, 'the answer is a undefined'],
    ['answers what is never stored', () => ({ status: 429 }), 'status is 429'],
  ])('a hook that %s does not know: refused, logged, and asked again later', async (_, hook, message) => {
    await start();
    answer = hook as never;
    await app.post('/impatient', 'k', { card: 'secret' });
    expectProblem(await app.post('/impatient', 'k', { card: 'secret' }), 409, 'outcome-uncertain');
    const [line] = logger.lines.filter((text) => text.includes('reconcile hook failed'));
    expect(line).toMatch(/^error Refunds\.impatient \(record [0-9a-f]{12}\) stays uncertain/);
    expect(line).toContain(message);
    expect(logger.lines.join()).not.toContain('secret');
    expect(asked[0]!.signal.aborted).toBe(true);
    answer = () => ({ value: 'found' });
    await eventually(async () =>
      expect((await app.post('/impatient', 'k', { card: 'secret' })).text).toBe('found'),
    );
  });

  it('a method gets the value; an HTTP answer for it is not used', async () => {
    await start();
    answer = () => ({ status: 200, body: 'no' });
    const payouts = app.app.get(Payouts);
    await expect(payouts.pay('a')).rejects.toThrow('the bank did not answer');
    await expect(payouts.pay('a')).rejects.toMatchObject({ code: 'outcome-uncertain' });
    expect(logger.lines.join()).toContain('this is no HTTP handler; answer with { value } or { error }');
    expect(asked[0]!.call.args).toEqual(['a']);
    answer = () => ({ value: 5n });
    contexts = [];
    await expect(payouts.pay('b')).rejects.toThrow('the bank did not answer');
    expect(await payouts.pay('b')).toBe(5n);
  });

  it('IdempotencyService.run has it as well', async () => {
    await start();
    answer = ({ call }) => ({ value: call.payload });
    const request = { scope: 'payouts', key: 'k', payload: { cents: 5 }, ...UNSURE };
    await expect(service().run(request, () => Promise.reject(new Error('no answer')))).rejects.toThrow(
      'no answer',
    );
    expect(await service().run(request, () => 'again')).toMatchObject({
      value: { cents: 5 },
      replayed: true,
    });
  });

  it('is asked where the answer of a success could not be stored', async () => {
    const store = memoryStore();
    let isDown = true;
    const complete: typeof store.complete = (...given) =>
      isDown ? Promise.reject(new Error('disk full')) : store.complete(...given);
    await start('express', { store: altered(store, { complete }) });
    answer = () => ({ value: 'fine' });
    expect((await app.post('/fine', 'k', {})).text).toBe('fine');
    isDown = false;
    await eventually(async () => expect((await app.post('/fine', 'k', {})).text).toBe('fine'));
    expect(app.counters).toMatchObject({ claims: 1, unstored: 1, uncertain: 1, reconciled: 1 });
  });
});

describe('several processes', () => {
  const ask = { key: 'a' };
  const { id } = identityOf(ask);

  function nodesOn(store = memoryStore()): TestNode[] {
    const options = { onOrphan: 'uncertain', reconcileTimeoutMs: 60 } as const;
    return [1, 2].map(() => new TestNode({ store, options }));
  }

  async function orphan(store: ReturnType<typeof memoryStore>): Promise<void> {
    const { fingerprint } = identityOf(ask);
    await store.claim({
      ...{ id, scope: 'payments', key: 'a', fingerprint },
      ...{ token: 'dead', leaseMs: 1, retentionMs: 60_000, takeOrphan: false },
    });
    await sleep(5);
  }

  it('G51 an orphan is marked and asked about by one of them', async () => {
    const store = memoryStore();
    await orphan(store);
    const nodes = nodesOn(store);
    let count = 0;
    const findOut = async (): Promise<Finding> => {
      count++;
      await sleep(20);
      return ANSWER;
    };
    const begun = await Promise.all(
      nodes.map((node) => node.begin(ask, findOut).catch(({ code }) => code as string)),
    );
    expect(count).toBe(1);
    expect(begun).toContainEqual(expect.objectContaining({ kind: 'replay', response: ANSWER }));
    expect(begun.filter((one) => typeof one === 'string' && one !== 'outcome-uncertain')).toEqual([]);
  });

  it('G10 an answer that comes when the record is another one settles nothing', async () => {
    const store = memoryStore();
    await orphan(store);
    const gate = new Gate();
    const slow = wrapped(store, {
      // Found out in time, and then this process stands still.
      act: async (next) => {
        await gate.opened;
        return next();
      },
    });
    const [, healthy] = nodesOn(store);
    const [late] = nodesOn(slow);
    const lost = late!.begin(ask, async () => 'retry').catch(({ code }) => code as string);
    let heir: Awaited<ReturnType<TestNode['begin']>> | undefined;
    await eventually(async () => {
      heir = await healthy!.begin(ask, async () => 'retry');
    });
    if (heir?.kind !== 'run') throw new Error('not run');
    await heir.ownership.markUncertain();
    gate.open();
    expect(await lost).toBe('outcome-uncertain');
    expect(await store.find(id)).toMatchObject({ state: 'uncertain', attempt: 2 });
    expect(await store.audit(id)).toHaveLength(1);
    expect(late!.engine.counters.reconciled).toBe(0);
  });

  it('an operator who is faster is believed', async () => {
    const store = memoryStore();
    await orphan(store);
    const [node] = nodesOn(store);
    const begun = await node!.begin(ask, async () => {
      await store.act(newAct({ id, response: ANSWER }));
      return 'retry';
    });
    expect(begun).toMatchObject({ kind: 'replay', response: ANSWER });
    expect(await store.audit(id)).toMatchObject([{ act: 'answer' }]);
  });

  it('G85 a store that is down while it is asked is unavailable', async () => {
    const store = memoryStore();
    await orphan(store);
    const broken = wrapped(store, { reserve: () => Promise.reject(new Error('gone')) });
    const [node] = nodesOn(broken);
    await expect(node!.begin(ask, async () => 'retry')).rejects.toMatchObject({ code: 'unavailable' });
  });
});
