import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Test } from '@nestjs/testing';
import { type Channel, type ChannelModel, connect } from 'amqplib';
import type { Redis } from 'ioredis';
import { Idempotent, IdempotencyModule, memoryStore } from 'nestjs-idempotent';
import { type RabbitMqServer, startRabbitMq } from '../../sample-app/servers/rabbitmq.js';
import { redisClient } from '../support/redis-client.js';
import { sharedRedisUrl } from '../support/shared-servers.js';
import { Broker, REDELIVERY_MS, RETRY } from './broker.js';
import { ConsumerProcess } from './consumer-process.js';
import { command, type GolevelupSetup, type PayCommand } from './fixtures/commands.js';

const LEASE_MS = 500;
const DEAD = 'golevelup-dead';
const QUEUES = ['golevelup-requested', 'golevelup-lasting', 'golevelup-locked', 'golevelup-pay'];

let server: RabbitMqServer;
let broker: Broker;
let redis: Redis;
let connection: ChannelModel;
let channel: Channel;
let services: ConsumerProcess[];
const answers = new Map<string, (answer: any) => void>();

beforeAll(async () => {
  server = await startRabbitMq();
  redis = redisClient(sharedRedisUrl());
  broker = await Broker.connect(server.url);
  await broker.queue(DEAD);
  connection = await connect(server.url);
  connection.on('error', () => undefined);
  channel = await connection.createChannel();
  await channel.consume(
    'amq.rabbitmq.reply-to',
    (message) => {
      answers.get(message!.properties.correlationId)?.(JSON.parse(message!.content.toString()));
    },
    { noAck: true },
  );
  services = await Promise.all([start(), start()]);
}, 60_000);
afterAll(async () => {
  await Promise.all(services.map(({ process }) => process.stop()));
  // They end with their broker, which does not always answer to a close when it has much to do.
  void broker[Symbol.asyncDispose]();
  connection.close().catch(() => undefined);
  await server.stop();
});

function start(): Promise<ConsumerProcess> {
  const module = { leaseMs: LEASE_MS, redeliveryDelayMs: REDELIVERY_MS };
  const setup: GolevelupSetup = { amqpUrl: server.url, redisUrl: sharedRedisUrl(), module };
  return ConsumerProcess.of('golevelup', { GOLEVELUP: JSON.stringify(setup) });
}

const paid = ({ refundId }: PayCommand) => redis.llen(`paid:${refundId}`);
const runs = ({ refundId }: PayCommand) =>
  services.reduce((count, service) => count + service.runs(refundId), 0);
const whoBegan = ({ refundId }: PayCommand) =>
  Promise.any(services.map((service) => service.began(refundId).then(() => service)));
const publish = (routingKey: string, payload: unknown, options: object = {}) =>
  channel.publish('refunds', routingKey, Buffer.from(JSON.stringify(payload)), options);
/** What a request is answered with. */
const ask = (payload: PayCommand): Promise<any> =>
  new Promise((resolve) => {
    const correlationId = randomUUID();
    answers.set(correlationId, resolve);
    const headers = { refund: payload.refundId };
    publish('pay', payload, { replyTo: 'amq.rabbitmq.reply-to', correlationId, headers });
  });
/** Nothing waits any more, but for what is with a consumer. */
const done = () =>
  broker.until(async () => {
    const left = await Promise.all(
      QUEUES.flatMap((queue) => [queue, queue + RETRY]).map((q) => broker.waiting(q)),
    );
    return left.every((count) => count === 0);
  });

it('G61 a message whose lock is taken comes back, and runs when that is free', async () => {
  const account = randomUUID();
  const [first, second] = [command({ account, hold: true }), command({ account })];
  publish('locked', first);
  const service = await whoBegan(first);
  publish('locked', second);
  await broker.until(async () => (await broker.waiting(`golevelup-locked${RETRY}`)) === 1);
  expect(runs(second)).toBe(0);
  await service.go(first.refundId);
  await broker.until(async () => (await paid(second)) === 1);
  expect([await paid(first), runs(first), runs(second)]).toEqual([1, 1, 1]);
});

it('what a message would lock is missing: it is a dead letter', async () => {
  const refund = command();
  publish('locked', refund);
  await broker.until(async () => (await broker.waiting(DEAD)) === 1);
  expect((await channel.get(DEAD, { noAck: true })) && runs(refund)).toBe(0);
});

it('G01 a burst of 20 duplicates over two processes runs once', async () => {
  const refund = command();
  for (let i = 0; i < 20; i++) publish('requested', refund);
  await whoBegan(refund);
  await broker.until(async () => (await paid(refund)) === 1);
  await done();
  expect(runs(refund)).toBe(1);
});

it('G54 a burst of 20 requests has one answer, after those that came too early were put back', async () => {
  const refund = command({ hold: true });
  const asked = Promise.all(Array.from({ length: 20 }, () => ask(refund)));
  const service = await whoBegan(refund);
  // They come back known by where they were sent to, and are put back again.
  await broker.until(async () => (await broker.waiting(`golevelup-pay${RETRY}`)) > 0);
  await sleep(REDELIVERY_MS * 2);
  await service.go(refund.refundId);
  const expected = { refundId: refund.refundId, payout: 1, attempt: 1 };
  expect(await asked).toEqual(Array.from({ length: 20 }, () => expected));
  expect(await ask(refund)).toEqual(expected);
  expect([runs(refund), await broker.waiting(DEAD)]).toEqual([1, 0]);
});

it('G05 a duplicate that comes three leases later has the answer of the first', async () => {
  const refund = command();
  const first = await ask(refund);
  await sleep(3 * LEASE_MS);
  expect(await ask(refund)).toEqual(first);
  expect(runs(refund)).toBe(1);
});

it('G07 another payload: a request has the problem, an event goes to the dead letters and not round in circles', async () => {
  const refund = command();
  await ask(refund);
  expect(await ask({ ...refund, amount: 1 })).toMatchObject({ error: { code: 'key-reused', status: 422 } });
  const event = command();
  publish('requested', event);
  await whoBegan(event);
  publish('requested', { ...event, amount: 1 });
  await broker.until(async () => (await broker.waiting(DEAD)) === 1);
  await channel.purgeQueue(DEAD);
  expect([runs(refund), runs(event)]).toEqual([1, 1]);
});

it('G31 the policy decides: what golevelup has again at once runs again, or is done when its error is recorded', async () => {
  const refund = command({ fails: 'error', failures: 2 });
  publish('requested', refund);
  await broker.until(() => runs(refund) === 3);
  const lasting = command({ fails: 'error', failures: 9 });
  const messageId = randomUUID();
  publish('lasting', lasting, { messageId });
  await whoBegan(lasting);
  publish('lasting', lasting, { messageId });
  await done();
  expect([runs(lasting), await paid(refund), await broker.waiting(DEAD)]).toEqual([1, 1, 0]);
});

it('G51 a consumer killed after the effect: its message is run by another one, the step is not', async () => {
  const refund = command({ dies: true });
  publish('requested', refund);
  await Promise.any(services.map(({ process }) => process.exited));
  await broker.until(() => runs(refund) === 2);
  expect(await paid(refund)).toBe(1);
});

// The last one: it ends the services.
it('leaves no message behind', async () => {
  await done();
  await Promise.all(services.map(({ process }) => process.stop()));
  const left = await Promise.all([...QUEUES, DEAD].map((queue) => broker.waiting(queue)));
  expect(left).toEqual([0, 0, 0, 0, 0]);
});

it('start-up refuses a batch of messages', async () => {
  class Batches {
    @Idempotent('{payload.id}')
    async many() {}
  }
  // What `@RabbitSubscribe` leaves; Jest cannot load the package it comes from.
  const many = Reflect.get(Batches.prototype, 'many') as Function;
  Reflect.defineMetadata(Symbol('RABBIT_HANDLER'), { type: 'subscribe', batchOptions: { size: 10 } }, many);
  const imports = [IdempotencyModule.forRoot({ principal: 'none', store: memoryStore(), sweep: false })];
  const module = await Test.createTestingModule({ imports, providers: [Batches] }).compile();
  await expect(module.init()).rejects.toThrow(/Batches\.many: a batch of messages has no key of its own/);
});
