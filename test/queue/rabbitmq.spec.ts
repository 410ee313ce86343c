import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { type ClientProxy, ClientProxyFactory, Transport } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { lastValueFrom } from 'rxjs';
import { startProxy } from '../support/proxy.js';
import { type RabbitMqServer, startRabbitMq } from '../../sample-app/servers/rabbitmq.js';
import { redisClient } from '../support/redis-client.js';
import { startRedis } from '../../sample-app/servers/servers.js';
import { sharedRedisUrl } from '../support/shared-servers.js';
import { Broker, REDELIVERY_MS, RETRY } from './broker.js';
import { ConsumerProcess } from './consumer-process.js';
import { command, type PayCommand } from './fixtures/commands.js';
import { testLockedMessages } from './locked-messages.js';
import { testTransactionalMessages } from './transactional-messages.js';

const LEASE_MS = 500;

let server: RabbitMqServer;
let broker: Broker;
let redis: Redis;

beforeAll(async () => {
  Logger.overrideLogger(['fatal']);
  server = await startRabbitMq();
  redis = redisClient(sharedRedisUrl());
  broker = await Broker.connect(server.url);
}, 60_000);
afterAll(async () => {
  await broker[Symbol.asyncDispose]();
  await server.stop();
});

const paid = ({ refundId }: PayCommand) => redis.llen(`paid:${refundId}`);

interface Service {
  readonly queue: string;
  readonly manual?: boolean;
  readonly url?: string;
  readonly redisUrl?: string;
}

function start({ queue, manual = true, url = server.url, redisUrl = sharedRedisUrl() }: Service) {
  const deadLetters = { deadLetterExchange: '', deadLetterRoutingKey: `${queue}.dead` };
  return ConsumerProcess.start(
    {
      transport: 'RMQ',
      manual,
      redisUrl,
      module: { leaseMs: LEASE_MS, redeliveryDelayMs: REDELIVERY_MS },
      options: {
        ...{ urls: [url], queue, noAck: !manual, prefetchCount: 5 },
        queueOptions: { durable: true, ...deadLetters },
        socketOptions: { reconnectTimeInSeconds: 1 },
      },
    },
    { BANK_URL: sharedRedisUrl() },
  );
}

/** Nothing waits, and nothing comes back when the consumers are gone: all was acknowledged. */
async function expectDone(queue: string, services: readonly ConsumerProcess[]): Promise<void> {
  const left = async () => (await broker.waiting(queue)) + (await broker.waiting(queue + RETRY));
  const news = () => services.reduce((count, { process }) => count + process.messages.length, 0);
  // What is with a consumer is not seen here: until none of them has done anything for a while.
  for (let before = -1; before !== news() || (await left()) > 0; await sleep(REDELIVERY_MS * 3))
    before = news();
  await Promise.all(services.map(({ process }) => process.stop()));
  expect([await broker.waiting(queue), await broker.waiting(`${queue}.dead`)]).toEqual([0, 0]);
}

describe.each([{ manual: true }, { manual: false }])('acknowledged by the handler: $manual', ({ manual }) => {
  const queue = `refunds-${manual ? 'manual' : 'automatic'}`;
  let services: ConsumerProcess[];
  let client: ClientProxy;
  const send = (pattern: string, payload: unknown): Promise<any> =>
    lastValueFrom(client.send(pattern, payload)).catch((error: unknown) => ({ error }));
  const runs = ({ refundId }: PayCommand) =>
    services.reduce((count, service) => count + service.runs(refundId), 0);
  const acknowledgements = ({ refundId }: PayCommand) =>
    services.reduce((count, service) => count + service.acknowledgements(refundId), 0);
  const whoBegan = ({ refundId }: PayCommand) =>
    Promise.any(services.map((service) => service.began(refundId).then(() => service)));

  beforeAll(async () => {
    await broker.queue(`${queue}.dead`);
    services = await Promise.all([start({ queue, manual }), start({ queue, manual })]);
    client = ClientProxyFactory.create({
      transport: Transport.RMQ,
      options: { urls: [server.url], queue, noAssert: true },
    });
    await client.connect();
  });
  afterAll(() => client.close());

  it('G01 a burst of 20 duplicates over two processes runs once', async () => {
    const refund = command();
    await Promise.all(Array.from({ length: 20 }, () => broker.emit(queue, 'requested', refund)));
    await whoBegan(refund);
    await broker.until(async () => (await paid(refund)) === 1);
    await broker.until(async () => (await broker.waiting(queue)) === 0);
    expect(runs(refund)).toBe(1);
  });

  it('G54 a request that was answered is answered again with the same, and not run', async () => {
    const refund = command();
    const first = await send('pay', refund);
    expect(first).toEqual({ refundId: refund.refundId, payout: 1, attempt: 1 });
    expect(await send('pay', refund)).toEqual(first);
    expect(runs(refund)).toBe(1);
  });

  it('G54 a duplicate of a running message comes back until it is answered, and is not a dead letter', async () => {
    const refund = command({ hold: true });
    const first = send('pay', refund);
    const service = await whoBegan(refund);
    const second = send('pay', refund);
    // More than once: it came back, and was put back again.
    for (const _ of [1, 2]) {
      await broker.until(async () => (await broker.waiting(queue + RETRY)) === 1);
      await broker.until(async () => (await broker.waiting(queue + RETRY)) === 0);
    }
    await service.go(refund.refundId);
    expect(await second).toEqual(await first);
    expect(runs(refund)).toBe(1);
    expect(await broker.waiting(`${queue}.dead`)).toBe(0);
  });

  it('G07 another payload is refused: a request with the problem, an event as a dead letter', async () => {
    const refund = command();
    await send('pay', refund);
    expect(await send('pay', { ...refund, amount: 1 })).toMatchObject({
      error: { code: 'key-reused', status: 422 },
    });
    await broker.emit(queue, 'requested', refund);
    await broker.until(() => runs(refund) === 2);
    await broker.emit(queue, 'requested', { ...refund, amount: 2 });
    // Acknowledged automatically it is gone.
    const dead = manual ? [{ ...refund, amount: 2 }] : [];
    await broker.until(async () => (await broker.waiting(queue)) === 0);
    await broker.until(async () => (await broker.waiting(`${queue}.dead`)) === dead.length);
    expect(await broker.takeAll(`${queue}.dead`)).toEqual(dead);
    expect(runs(refund)).toBe(2);
  });

  testLockedMessages({ queue, manual, send, runs, acknowledgements, paid, whoBegan, broker: () => broker });

  it('a controller made per message runs once and is answered again with the same', async () => {
    const refund = command();
    const first = await send('pay.scoped', refund);
    expect(first).toEqual({ refundId: refund.refundId, payout: 1, attempt: 1 });
    expect(await send('pay.scoped', refund)).toEqual(first);
    expect(runs(refund)).toBe(1);
  });

  it('an event is known by its message id', async () => {
    const refund = command();
    const messageId = randomUUID();
    await broker.emit(queue, 'requested.by-id', refund, { messageId });
    await broker.until(async () => (await paid(refund)) === 1);
    await broker.emit(queue, 'requested.by-id', refund, { messageId });
    await broker.emit(queue, 'requested.by-id', refund, { messageId: randomUUID() });
    await broker.until(() => runs(refund) === 2);
    await sleep(100);
    expect(runs(refund)).toBe(2);
  });

  it('G31 the policy decides: a lasting error is recorded, and its message is done', async () => {
    const refund = command({ fails: 'error' });
    await broker.emit(queue, 'requested.lasting', refund);
    await whoBegan(refund);
    await broker.emit(queue, 'requested.lasting', refund);
    await sleep(REDELIVERY_MS * 2);
    expect(runs(refund)).toBe(1);
  });

  if (manual) {
    it('G31 the policy decides: any other error brings the message back later', async () => {
      const refund = command({ fails: 'error', failures: 2 });
      await broker.emit(queue, 'requested', refund);
      await broker.until(() => runs(refund) === 3);
      expect(await paid(refund)).toBe(1);
    });

    it('G51 a consumer killed after the effect: its message is run by another one, the step is not', async () => {
      const refund = command({ dies: true });
      await broker.emit(queue, 'requested', refund);
      await Promise.any(services.map(({ process }) => process.exited));
      await broker.until(() => runs(refund) === 2);
      expect(await paid(refund)).toBe(1);
      services = services.filter(({ process }) => process.running);
      services.push(await start({ queue, manual }));
    });
  }

  it('a redelivery after three times the lease finds the result: one payout', async () => {
    const refund = command();
    const delay = `${queue}-late`;
    await broker.delayQueue(delay, queue, LEASE_MS * 3);
    await broker.emit(delay, 'requested', refund);
    await broker.emit(queue, 'requested', refund);
    await broker.until(async () => (await paid(refund)) === 1);
    await broker.until(async () => (await broker.waiting(delay)) === 0);
    await broker.until(async () => (await broker.waiting(queue)) === 0);
    if (manual) await broker.until(() => acknowledgements(refund) === 2);
    else await sleep(200);
    expect(runs(refund)).toBe(1);
  });

  // The last one: it ends the services.
  it('leaves no message behind', () => expectDone(queue, services));
});

describe('transactional', () => {
  testTransactionalMessages(() => ({ broker, url: server.url }));
});

it('G54 the connection is lost after the effect and before the acknowledgement: one payout', async () => {
  await using proxy = await startProxy(server.port);
  const queue = 'refunds-cut';
  await broker.queue(`${queue}.dead`);
  await using service = await start({ queue, url: proxy.url(server.url) });
  const refund = command({ hold: true });
  await broker.emit(queue, 'requested', refund);
  await service.began(refund.refundId);
  proxy.closeConnections();
  await service.go(refund.refundId);
  await service.paid(refund.refundId);
  await expectDone(queue, [service]);
  expect(service.runs(refund.refundId)).toBe(1);
  expect(service.errors.filter((error) => error.includes('Channel'))).toEqual([]);
});

it('G85 store and lock are down: the message comes back until they are there, and is run once', async () => {
  await using store = await startRedis();
  const queue = 'refunds-storeless';
  await broker.queue(`${queue}.dead`);
  await using service = await start({ queue, redisUrl: store.url });
  await store.kill();
  const [refund, locked] = [command(), command({ account: randomUUID() })];
  await broker.emit(queue, 'requested', refund);
  await broker.emit(queue, 'requested.locked', locked);
  await broker.until(async () => (await broker.waiting(queue + RETRY)) === 2);
  expect([service.runs(refund.refundId), service.runs(locked.refundId)]).toEqual([0, 0]);
  await store.restart();
  await Promise.all([service.paid(refund.refundId), service.paid(locked.refundId)]);
  await expectDone(queue, [service]);
  expect([service.runs(refund.refundId), service.runs(locked.refundId)]).toEqual([1, 1]);
});

it('a message that its retry queue does not take stays with the broker: none is lost', async () => {
  const queue = 'refunds-retryless';
  await broker.queue(`${queue}.dead`);
  // Somebody else has made it, of another kind: the broker refuses to have it as it should be.
  await broker.queue(queue + RETRY);
  await using service = await start({ queue });
  const refund = command({ hold: true });
  await broker.emit(queue, 'requested', refund);
  await service.began(refund.refundId);
  await broker.emit(queue, 'requested', refund);
  await sleep(3 * REDELIVERY_MS);
  expect(await broker.waiting(queue + RETRY)).toBe(0);
  await service.go(refund.refundId);
  await service.paid(refund.refundId);
  await broker.until(() => service.acknowledgements(refund.refundId) === 2);
  await expectDone(queue, [service]);
  expect(service.runs(refund.refundId)).toBe(1);
});

it('G51 an event whose outcome is uncertain comes back until somebody resolves it, and is no dead letter', async () => {
  const queue = `refunds-uncertain-${randomUUID()}`;
  await broker.queue(`${queue}.dead`);
  await using dying = await start({ queue });
  const refund = command({ hold: true });
  await broker.emit(queue, 'requested.careful', refund);
  await dying.began(refund.refundId);
  await using next = await start({ queue });
  await dying.process.kill();
  await sleep(2 * LEASE_MS);
  // Each time it was put back before.
  const before = next.acknowledgements(refund.refundId);
  await broker.until(() => next.acknowledgements(refund.refundId) > before + 1);
  await next.process.stop();
  // Killed between the copy and the acknowledgement it leaves two, never none.
  const left = async () => (await broker.waiting(queue)) + (await broker.waiting(queue + RETRY));
  await broker.until(async () => (await left()) > 0);
  expect([next.runs(refund.refundId), await broker.waiting(`${queue}.dead`)]).toEqual([0, 0]);
});

// The last one: it takes the broker away from the others.
it('the broker is restarted while a handler runs and a duplicate waits: one payout', async () => {
  const queue = 'refunds-restart';
  await broker.queue(`${queue}.dead`);
  await using service = await start({ queue });
  const refund = command({ hold: true });
  await broker.emit(queue, 'requested', refund);
  await service.began(refund.refundId);
  await broker.emit(queue, 'requested', refund);
  await broker.until(async () => (await broker.waiting(queue + RETRY)) === 1);
  await server.restart();
  broker = await Broker.connect(server.url);
  await service.go(refund.refundId);
  await service.paid(refund.refundId);
  await expectDone(queue, [service]);
  expect(service.runs(refund.refundId)).toBe(1);
}, 60_000);
