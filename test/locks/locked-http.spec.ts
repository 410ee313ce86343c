import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  Body,
  type CallHandler,
  Controller,
  type ExecutionContext,
  Inject,
  Injectable,
  ParseIntPipe,
  Post,
  Query,
  RequestTimeoutException,
  UseInterceptors,
} from '@nestjs/common';
import {
  Idempotent,
  IdempotencyContext,
  IdempotencyCtx,
  type LockDriver,
  Locked,
  LockLease,
  LockService,
  memoryLock,
} from 'nestjs-idempotent';
import { redisLock } from 'nestjs-idempotent/locks/redis';
import { concat, defer, from, map, type Observable, raceWith } from 'rxjs';
import { eventually, expectProblem, expectReplayOf, Gate, PLATFORMS, startApp } from '../support/http-app.js';
import { redisClient } from '../support/redis-client.js';
import { startRedis } from '../../sample-app/servers/servers.js';
import { sharedRedisUrl } from '../support/shared-servers.js';

let ran = 0;
let inside = 0;
let most = 0;
let entered = new Gate();
let leave = new Gate();
let timeUp = new Gate();
let order: string;

beforeEach(() => {
  ran = inside = most = 0;
  [entered, leave, timeUp] = [new Gate(), new Gate(), new Gate()];
  order = randomUUID();
});

/** `timeout()` whose time is up when the test says so. */
class TimesOut {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const error$ = from(timeUp.opened).pipe(
      map(() => {
        throw new RequestTimeoutException();
      }),
    );
    return next.handle().pipe(raceWith(error$));
  }
}

@Injectable()
class Stock {
  @Locked('stock:{args.0}')
  async take(sku: string): Promise<string> {
    ran++;
    return sku;
  }
}

@Controller('orders')
class Orders {
  constructor(@Inject(Stock) private readonly stock: Stock) {}

  private async work(): Promise<{ ran: number }> {
    ran++;
    most = Math.max(most, ++inside);
    entered.open();
    await sleep(5);
    inside--;
    return { ran };
  }

  @Post('close')
  @Locked('order:{body.order}', { waitMs: 20_000 })
  close(@Body() _body: unknown) {
    return this.work();
  }

  @Post('now')
  @Locked(({ body }) => `order:${body.order}`)
  now() {
    return this.work();
  }

  @Post('held')
  @Locked('order:{body.order}')
  async held() {
    ran++;
    entered.open();
    await leave.opened;
    return { fence: String(LockLease.current()!.fence) };
  }

  @Post('checked')
  @Locked('order:{body.order}')
  checked(@Query('n', ParseIntPipe) n: number) {
    ran++;
    return { n };
  }

  @Post('lost')
  @Locked('order:{body.order}', { ttlMs: 150, renew: false })
  async lost() {
    const lease = LockLease.current()!;
    lease.assertHeld();
    await new Promise((resolve) => lease.signal.addEventListener('abort', resolve));
    lease.assertHeld();
  }

  @Post('many')
  @Locked('order:{body.order}')
  many(@Body() body: { order: string }) {
    return concat(
      from(['first']),
      defer(async () => {
        entered.open();
        await leave.opened;
        return body.order;
      }),
    );
  }

  @Post('stock')
  taken(@Body() { order: sku }: { order: string }) {
    return this.stock.take(sku);
  }

  @Post('idempotent/outside')
  @Idempotent()
  @Locked('order:{body.order}')
  outside(@Body() _body: unknown, @IdempotencyCtx() ctx: IdempotencyContext) {
    return { ran: ++ran, attempt: ctx.attempt, lock: LockLease.current()!.name };
  }

  @Post('idempotent/inside')
  @Locked('order:{body.order}')
  @Idempotent()
  inside(@Body() _body: unknown, @IdempotencyCtx() ctx: IdempotencyContext) {
    return { ran: ++ran, attempt: ctx.attempt, lock: LockLease.current()!.name };
  }

  @Post('idempotent/slow')
  @UseInterceptors(TimesOut)
  @Idempotent()
  @Locked('order:{body.order}')
  async slow() {
    entered.open();
    await leave.opened;
    return { ran: ++ran };
  }

  @Post('idempotent/impatient')
  @UseInterceptors(TimesOut)
  @Locked('order:{body.order}', { waitMs: 20_000 })
  @Idempotent()
  impatient() {
    return { ran: ++ran };
  }
}

const start = (platform: (typeof PLATFORMS)[number], lock: LockDriver) =>
  startApp({ platform, controllers: [Orders], providers: [Stock], module: { lock } });
const ofRedis = (url = sharedRedisUrl()) => redisLock({ client: redisClient(url) });

it('G60 two apps over one Redis: one at a time, each of them runs', async () => {
  await using first = await start('express', ofRedis());
  await using second = await start('fastify', ofRedis());
  const answers = await Promise.all(
    Array.from({ length: 12 }, (_, i) => (i % 2 ? first : second).post('/orders/close', null, { order })),
  );
  expect(answers.map(({ status }) => status)).toEqual(Array(12).fill(201));
  expect(new Set(answers.map(({ json }) => json.ran)).size).toBe(12);
  expect(most).toBe(1);
});

it('G60 two apps over one Redis: who does not wait is refused while the other runs, and not after', async () => {
  await using first = await start('express', ofRedis());
  await using second = await start('fastify', ofRedis());
  const running = first.post('/orders/held', null, { order });
  await entered.opened;
  const refused = await second.post('/orders/now', null, { order });
  expectProblem(refused, 409, 'lock-busy');
  // Another order is another lock.
  expect((await second.post('/orders/now', null, { order: `${order}x` })).status).toBe(201);
  leave.open();
  expect((await running).status).toBe(201);
  expect((await second.post('/orders/now', null, { order })).status).toBe(201);
});

describe.each(PLATFORMS)('@Locked on %s', (platform) => {
  let lock: LockDriver;
  let others: LockService;
  beforeEach(() => {
    lock = memoryLock();
    others = new LockService(lock);
  });

  const hold = async (name = `order:${order}`) => {
    const result = await others.acquire(name, { ttlMs: 8_000 });
    if (result.status !== 'acquired') throw new Error(result.status);
    return result.lease;
  };

  it('G61 busy: 409 with the time left, without the name, and the method did not begin', async () => {
    await using app = await start(platform, lock);
    await using _ = await hold();
    const refused = await app.post('/orders/now', null, { order });
    expectProblem(refused, 409, 'lock-busy');
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(4);
    expect(Number(refused.headers.get('retry-after'))).toBeLessThanOrEqual(8);
    expect(refused.text).not.toContain(order);
    expect(ran).toBe(0);
  });

  it('G85 a Redis that is down: 503, and the method did not begin', async () => {
    await using server = await startRedis();
    await using app = await startApp({
      platform,
      controllers: [Orders],
      providers: [Stock],
      module: { lock: ofRedis(server.url), backendTimeoutMs: 250 },
    });
    expect((await app.post('/orders/now', null, { order })).status).toBe(201);
    await server.kill();
    const refused = await app.post('/orders/now', null, { order });
    expectProblem(refused, 503, 'lock-unavailable');
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(ran).toBe(1);
  });

  it('G62 waits for the holder', async () => {
    await using app = await start(platform, lock);
    const lease = await hold();
    const waiting = app.post('/orders/close', null, { order });
    await sleep(50);
    expect(ran).toBe(0);
    await lease.release();
    expect((await waiting).status).toBe(201);
  });

  it('what the name is made of is missing: 400 that says what', async () => {
    await using app = await start(platform, lock);
    for (const body of [{}, { order: '' }, { order: null }]) {
      const refused = await app.post('/orders/close', null, body);
      expectProblem(refused, 400, 'lock-name-invalid');
      expect(refused.json.detail).toContain('{body.order}');
    }
    expectProblem(await app.post('/orders/close', null, { order: { a: 1 } }), 400, 'lock-name-invalid');
    expect(ran).toBe(0);
  });

  it('is taken after the pipes: a bad request asks for no lock', async () => {
    await using app = await start(platform, lock);
    await using _ = await hold();
    expect((await app.post('/orders/checked?n=x', null, { order })).status).toBe(400);
    expectProblem(await app.post('/orders/checked?n=1', null, { order }), 409, 'lock-busy');
  });

  it('G12 tells the handler of its loss; thrown on, it is 409', async () => {
    await using app = await start(platform, lock);
    expectProblem(await app.post('/orders/lost', null, { order }), 409, 'lock-lost');
  });

  it('an Observable is held until its end', async () => {
    await using app = await start(platform, lock);
    const running = app.post('/orders/many', null, { order });
    await entered.opened;
    expectProblem(await app.post('/orders/now', null, { order }), 409, 'lock-busy');
    leave.open();
    expect((await running).text).toBe(order);
    expect((await app.post('/orders/now', null, { order })).status).toBe(201);
  });

  it('a locked provider that a handler calls refuses with 409 as well', async () => {
    await using app = await start(platform, lock);
    const lease = await hold(`stock:${order}`);
    const refused = await app.post('/orders/stock', null, { order });
    expect([refused.status, refused.json.code, ran]).toEqual([409, 'lock-busy', 0]);
    await lease.release();
    expect((await app.post('/orders/stock', null, { order })).text).toBe(order);
  });

  it.each(['outside', 'inside'])(
    'with @Idempotent %s: claims first, locks second; a replay takes no lock',
    async (where) => {
      await using app = await start(platform, lock);
      const path = `/orders/idempotent/${where}`;
      const lease = await hold();
      expectProblem(await app.post(path, 'key', { order }), 409, 'lock-busy');
      await lease.release();
      // It has not begun: even another order may use the key.
      const first = await app.post(path, 'key', { order: `${order}x` });
      expect(first.json).toEqual({ ran: 1, attempt: 1, lock: `order:${order}x` });
      await using _ = await hold(`order:${order}x`);
      expectReplayOf(first, await app.post(path, 'key', { order: `${order}x` }));
      expectProblem(await app.post(path, 'key', { order }), 422, 'key-reused');
    },
  );

  it('with @Idempotent: who was answered by a time-out while it waited for the lock never begins', async () => {
    await using app = await start(platform, lock);
    const lease = await hold();
    const impatient = app.post('/orders/idempotent/impatient', 'key', { order });
    await sleep(50);
    timeUp.open();
    expect((await impatient).status).toBe(408);
    await lease.release();
    // The lock is handed to it, and given back at once.
    const { status } = await others.acquire(`order:${order}`, { ttlMs: 1_000, waitMs: 10_000 });
    expect(status).toBe('acquired');
    expect(ran).toBe(0);
  });

  it('with @Idempotent: an answer that is made of a recorded value takes no lock', async () => {
    await using app = await start(platform, lock);
    const slow = app.post('/orders/idempotent/slow', 'key', { order });
    await entered.opened;
    timeUp.open();
    expect((await slow).status).toBe(408);
    timeUp = new Gate();
    leave.open();
    await using _ = await eventually(() => hold());
    const answer = await eventually(async () => {
      const answer = await app.post('/orders/idempotent/slow', 'key', { order });
      expect(answer.status).toBe(201);
      return answer;
    });
    expect([answer.json, answer.headers.get('idempotent-replayed')]).toEqual([{ ran: 1 }, 'true']);
  });
});
