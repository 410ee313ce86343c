import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Post } from '@nestjs/common';
import {
  type EngineCounters,
  IdempotencyCtx,
  IdempotencyContext,
  IdempotencyService,
  Idempotent,
} from 'nestjs-idempotent';
import { migrated, POSTGRES, redisUrl, SQLITE } from '../support/fixtures/grid.js';
import { openStack, type Stack, type StackUrls } from '../support/fixtures/stacks.js';
import { Gate } from '../support/fixtures/wrapped.js';
import { type Answer, startApp, type TestApp } from '../support/http-app.js';
import { type Server, startMariaDb, startPostgres, startRedis } from '../../sample-app/servers/servers.js';

const TIMEOUT_MS = 400;
/** A claim or a lock that is left behind would be in the way for this long. */
const LEASE_MS = 25_000;

/** What the handler of the test at hand does. */
let work: (context: IdempotencyContext) => unknown;

@Controller()
class PaymentController {
  @Post('payments')
  @Idempotent()
  pay(@IdempotencyCtx() context: IdempotencyContext) {
    return work(context);
  }
}

interface Shop extends AsyncDisposable {
  readonly stack: Stack;
  readonly app: TestApp;
  pay(key: string): Promise<Answer>;
  /** Pays as soon as the backends are back; what is left of the time before is not waited for. */
  payWhenUp(key: string): Promise<Answer>;
  counters(): EngineCounters;
}

async function openShop(urls: StackUrls, module = {}): Promise<Shop> {
  const stack = await openStack(urls);
  const { lock, store } = stack;
  const app = await startApp({
    controllers: [PaymentController],
    module: { store, lock, leaseMs: LEASE_MS, backendTimeoutMs: TIMEOUT_MS, ...module },
  });
  const pay = (key: string) => app.post('/payments', key, { amount: 500 });
  work = async ({ key }) => {
    await stack.ledger.pay(key!, 'shop');
    return { paid: key };
  };
  return {
    stack,
    app,
    pay,
    payWhenUp: async (key) => {
      const deadline = performance.now() + LEASE_MS / 2;
      for (;;) {
        const answer = await pay(key);
        if (![409, 503].includes(answer.status) || performance.now() > deadline) return answer;
        await sleep(30);
      }
    },
    counters: () => app.app.get(IdempotencyService).counters,
    [Symbol.asyncDispose]: async () => {
      await app.close();
      await stack.close();
    },
  };
}

interface Backend {
  readonly name: string;
  readonly start: () => Promise<{ server: Server; urls: StackUrls }>;
}

const BACKENDS: Backend[] = [
  {
    name: 'Redis, lock and store',
    start: async () => {
      const server = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] });
      const url = server.url as `redis://${string}`;
      return { server, urls: { lock: url, store: url } };
    },
  },
  {
    name: 'Redis, the lock before PostgreSQL',
    start: async () => {
      const server = await startRedis();
      return { server, urls: { lock: server.url as `redis://${string}`, store: await POSTGRES.create() } };
    },
  },
  {
    name: 'PostgreSQL',
    start: async () => {
      const server = await startPostgres();
      return { server, urls: { lock: 'none', store: await migrated(server.url as `postgres://${string}`) } };
    },
  },
  {
    name: 'PostgreSQL behind a Redis lock',
    start: async () => {
      const server = await startPostgres();
      return {
        server,
        urls: { lock: redisUrl(), store: await migrated(server.url as `postgres://${string}`) },
      };
    },
  },
  {
    name: 'MariaDB',
    start: async () => {
      const server = await startMariaDb();
      return { server, urls: { lock: 'none', store: await migrated(server.url as `mysql://${string}`) } };
    },
  },
];

describe.each(BACKENDS)('$name', ({ start }) => {
  let server: Server;
  let urls: StackUrls;
  let key: string;

  beforeAll(async () => {
    ({ server, urls } = await start());
  });
  afterAll(() => server.stop());
  beforeEach(() => {
    key = randomUUID();
  });

  async function expectUnavailable(shop: Shop, call = shop.pay(key)): Promise<void> {
    const begun = performance.now();
    const answer = await call;
    expect(answer).toMatchObject({ status: 503, json: { code: 'unavailable', status: 503 } });
    expect(answer.headers.get('retry-after')).toBe('1');
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(answer.headers.get('content-type')).toContain('application/problem+json');
    expect(performance.now() - begun).toBeLessThan(TIMEOUT_MS + 1_500);
  }

  it.each<[string, (down: Server) => Promise<void>, (up: Server) => Promise<void>]>([
    ['dead', (down) => down.kill(), (up) => up.restart()],
    ['stopped', (down) => down.pause(), (up) => up.resume()],
  ])('G85 %s: 503 in time, nothing ran; when it is back the same key runs once', async (_, down, up) => {
    await using shop = await openShop(urls);
    expect((await shop.pay(randomUUID())).status).toBe(201);
    await down(server);
    await expectUnavailable(shop);
    // Also many at once, and again.
    await Promise.all([1, 2, 3, 4, 5].map(() => expectUnavailable(shop)));
    expect(shop.counters()).toMatchObject({ unavailable: 6, unprotected: 0, claims: 1 });
    await up(server);
    const answer = await shop.payWhenUp(key);
    expect(answer).toMatchObject({ status: 201, json: { paid: key } });
    expect((await shop.pay(key)).headers.get('idempotent-replayed')).toBe('true');
    expect(await shop.stack.ledger.payers(key)).toHaveLength(1);
  });

  it('G85 onUnavailable run: the call runs unprotected, says so, and is counted', async () => {
    await using shop = await openShop(urls, { onUnavailable: 'run' });
    work = ({ isProtected }) => ({ isProtected });
    expect((await shop.pay(randomUUID())).json).toEqual({ isProtected: true });
    await server.pause();
    const answer = await shop.pay(key);
    expect(answer).toMatchObject({ status: 201, json: { isProtected: false } });
    expect(answer.headers.get('idempotency-status')).toBe('unprotected');
    expect(shop.counters()).toMatchObject({ unprotected: 1, unavailable: 0 });
    await server.resume();
  });
});

describe('G86 Redis restarted empty', () => {
  const LOCKED: [string, () => Promise<StackUrls['store']>][] = [
    ['PostgreSQL', POSTGRES.create],
    ['SQLite', SQLITE.create],
  ];

  it.each(LOCKED)('after completion, results in %s: replay', async (_, store) => {
    await using redis = await startRedis();
    await using shop = await openShop({ lock: redis.url as `redis://${string}`, store: await store() });
    const key = randomUUID();
    const first = await shop.pay(key);
    await redis.kill();
    await redis.restart();
    const again = await shop.payWhenUp(key);
    expect({ status: again.status, text: again.text }).toEqual({ status: first.status, text: first.text });
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(await shop.stack.ledger.payers(key)).toHaveLength(1);
  });

  it.each(LOCKED)('while the handler runs, results in %s: runs once', async (_, store) => {
    await using redis = await startRedis();
    const urls: StackUrls = { lock: redis.url as `redis://${string}`, store: await store() };
    await using shop = await openShop(urls);
    await using other = await openShop(urls);
    const key = randomUUID();
    const gate = new Gate();
    work = async (context) => {
      await gate.wait();
      await shop.stack.ledger.pay(context.key!, 'shop');
      return { paid: context.key };
    };
    const first = shop.pay(key);
    await gate.reached;
    await redis.kill();
    await redis.restart();
    // The lock is anybody's now; the claim is not.
    let second: Answer;
    do second = await other.pay(key);
    while (second.status === 503);
    expect(second).toMatchObject({ status: 409, json: { code: 'in-progress' } });
    gate.open();
    expect((await first).status).toBe(201);
    const third = await other.payWhenUp(key);
    expect(third.text).toBe((await first).text);
    expect(await shop.stack.ledger.payers(key)).toHaveLength(1);
  });

  it('that dies while the handler runs, and stays dead: its answer is given and recorded', async () => {
    await using redis = await startRedis();
    const store = await POSTGRES.create();
    await using shop = await openShop({ lock: redis.url as `redis://${string}`, store });
    const key = randomUUID();
    work = async (context) => {
      await redis.kill();
      await shop.stack.ledger.pay(context.key!, 'shop');
      return { paid: context.key };
    };
    const begun = performance.now();
    const answer = await shop.pay(key);
    expect(answer).toMatchObject({ status: 201, json: { paid: key } });
    expect(performance.now() - begun).toBeLessThan(3_000);
    await using other = await openShop({ lock: 'none', store });
    expect((await other.pay(key)).text).toBe(answer.text);
  });
});

describe('G21 the store dies while the handler runs', () => {
  it.each<[string, (down: Server) => Promise<void>, (up: Server) => Promise<void>]>([
    ['dead', (down) => down.kill(), (up) => up.restart()],
    ['stopped', (down) => down.pause(), (up) => up.resume()],
  ])(
    '%s: the caller gets the answer, the record becomes uncertain and is never run again',
    async (_, down, up) => {
      await using server = await startPostgres();
      const urls: StackUrls = { lock: 'none', store: await migrated(server.url as `postgres://${string}`) };
      await using shop = await openShop(urls);
      const key = randomUUID();
      let runs = 0;
      work = async () => {
        runs += 1;
        await down(server);
        return { paid: true };
      };
      const answer = await shop.pay(key);
      expect(answer).toMatchObject({ status: 201, json: { paid: true } });
      expect(shop.counters()).toMatchObject({ unstored: 1 });
      await up(server);
      const later = await lastAnswer(shop, key);
      // What was sent before the server stopped may have been executed after all.
      expect([201, 409]).toContain(later.status);
      expect(later.status === 201 ? later.text : later.json.code).toBe(
        later.status === 201 ? answer.text : 'outcome-uncertain',
      );
      expect(runs).toBe(1);
    },
  );

  /** The answer once the store is back and the record is no longer running. */
  async function lastAnswer(shop: Shop, key: string): Promise<Answer> {
    const deadline = performance.now() + 15_000;
    for (;;) {
      const answer = await shop.pay(key);
      const isEarly = answer.status === 503 || answer.json.code === 'in-progress';
      if (!isEarly || performance.now() > deadline) return answer;
      await sleep(50);
    }
  }
});
