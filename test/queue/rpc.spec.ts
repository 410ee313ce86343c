import { randomUUID } from 'node:crypto';
import { Logger } from '@nestjs/common';
import {
  ClientMqtt,
  ClientNats,
  type ClientProxy,
  ClientRedis,
  ClientTCP,
  MqttRecordBuilder,
  NatsRecordBuilder,
} from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { lastValueFrom } from 'rxjs';
import { freePort } from '../../sample-app/servers/ports.js';
import type { Server } from '../../sample-app/servers/server-process.js';
import { startMosquitto, startNats } from '../support/message-servers.js';
import { redisClient } from '../support/redis-client.js';
import { sharedRedisUrl } from '../support/shared-servers.js';
import { ConsumerProcess } from './consumer-process.js';
import { command, type PayCommand } from './fixtures/commands.js';
import { testHybridApplication } from './hybrid-application.js';

const LEASE_MS = 500;
const TRANSPORTS = ['TCP', 'REDIS', 'NATS', 'MQTT'] as const;

// When a question is answered they stop listening for answers, even if another question has just begun to wait for its own.
class ListeningRedis extends ClientRedis {
  protected override unsubscribeFromChannel(): void {}
}
class ListeningMqtt extends ClientMqtt {
  protected override unsubscribeFromChannel(): void {}
}

const CLIENTS = { TCP: ClientTCP, REDIS: ListeningRedis, NATS: ClientNats, MQTT: ListeningMqtt };

/** A message with a header, where the transport has any. */
const RECORDS = {
  NATS: async (data: unknown, key: string) => {
    const { headers } = await import('@nats-io/transport-node');
    const sent = headers();
    sent.set('Idempotency-Key', key);
    return new NatsRecordBuilder(data).setHeaders(sent).build();
  },
  MQTT: async (data: unknown, key: string) =>
    new MqttRecordBuilder(data).setProperties({ userProperties: { 'Idempotency-Key': key } }).build(),
};

type Client = ClientProxy<any, any>;

/** Two payment services, and a client of each. Over Redis and MQTT every message reaches both. */
interface Stage {
  readonly services: readonly ConsumerProcess[];
  readonly clients: readonly Client[];
}

let redis: Redis;
let nats: Server;
let mosquitto: Server;
const stages = new Map<string, Stage>();

beforeAll(async () => {
  // A client reports each second answer of the two services.
  Logger.overrideLogger(['error', 'fatal']);
  redis = redisClient(sharedRedisUrl());
  [nats, mosquitto] = await Promise.all([startNats(), startMosquitto()]);
  const { host, port, db } = redis.options;
  const optionsOf = {
    TCP: async () => ({ port: await freePort() }),
    REDIS: async () => ({ host, port, db }),
    // One service gets each message.
    NATS: async () => ({ servers: [nats.url], queue: 'payments' }),
    MQTT: async () => ({ url: mosquitto.url, protocolVersion: 5 }),
  };
  const opened = TRANSPORTS.map(async (transport) => {
    const setups = await Promise.all([optionsOf[transport](), optionsOf[transport]()]);
    const module = { leaseMs: LEASE_MS };
    const services = await Promise.all(
      setups.map((options) =>
        ConsumerProcess.start({ transport, options, redisUrl: sharedRedisUrl(), module }),
      ),
    );
    const clients = setups.map((options) => new CLIENTS[transport](options as never) as Client);
    await Promise.all(clients.map((client) => client.connect()));
    stages.set(transport, { services, clients });
  });
  await Promise.all(opened);
});
afterAll(async () => {
  for (const { services, clients } of stages.values()) {
    for (const client of clients) await client.close();
    await Promise.all(services.map((service) => service.process.stop()));
  }
  await Promise.all([nats.stop(), mosquitto.stop()]);
}, 30_000);

describe.each(TRANSPORTS)('%s', (transport) => {
  let stage: Stage;
  beforeAll(() => {
    stage = stages.get(transport)!;
  });

  /** What the caller gets: a value, or what Nest makes of an error. */
  const send = (pattern: string, payload: unknown, client = 0): Promise<any> =>
    lastValueFrom(stage.clients[client]!.send(pattern, payload)).catch((error: unknown) => ({ error }));
  const paid = ({ refundId }: PayCommand) => redis.llen(`paid:${refundId}`);

  it('G01 runs a burst of 20 duplicates over two processes once and gives them one answer', async () => {
    const refund = command();
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => send('pay.waiting', refund, i % 2)),
    );
    expect(new Set(answers.map((answer) => JSON.stringify(answer)))).toEqual(
      new Set([JSON.stringify({ refundId: refund.refundId, payout: 1, attempt: 1 })]),
    );
    expect(await paid(refund)).toBe(1);
  });

  it('G05 replays the answer to a late duplicate', async () => {
    const refund = command();
    const first = await send('pay.waiting', refund);
    await new Promise((resolve) => setTimeout(resolve, LEASE_MS * 1.5));
    expect(await send('pay.waiting', refund, 1)).toEqual(first);
    expect(await paid(refund)).toBe(1);
  });

  it('G07 refuses another payload under the same key, with the problem as the error', async () => {
    const refund = command();
    await send('pay.waiting', refund);
    expect(await send('pay.waiting', { ...refund, amount: 1 })).toEqual({
      error: {
        type: 'urn:nestjs-idempotent:key-reused',
        title: 'Idempotency-Key is already used',
        status: 422,
        code: 'key-reused',
      },
    });
    expect(await paid(refund)).toBe(1);
  });

  it('refuses a duplicate of a running call and tells when to ask again', async () => {
    const refund = command({ hold: true });
    const first = send('pay', refund);
    const service = await Promise.any(
      stage.services.map((candidate) => candidate.began(refund.refundId).then(() => candidate)),
    );
    expect(await send('pay', refund)).toMatchObject({
      error: { status: 409, code: 'in-progress', retryAfterMs: 1_000 },
    });
    await service.go(refund.refundId);
    await Promise.all([first, service.paid(refund.refundId)]);
    expect(await paid(refund)).toBe(1);
  });

  it('refuses a message without the value its key is made of, and one whose key is malformed', async () => {
    expect(await send('pay', { amount: 1 })).toMatchObject({
      error: { status: 400, code: 'key-missing', detail: expect.stringContaining('{payload.refundId}') },
    });
    expect(await send('pay', command({ refundId: 'x'.repeat(256) }))).toMatchObject({
      error: { code: 'key-invalid' },
    });
  });

  it('G61 tells that a lock is taken, and what has no name to lock', async () => {
    const account = randomUUID();
    const refund = command({ account, hold: true });
    const first = send('pay.locked', refund);
    const service = await Promise.any(
      stage.services.map((candidate) => candidate.began(refund.refundId).then(() => candidate)),
    );
    expect(await send('pay.locked', command({ account }))).toEqual({
      error: {
        type: 'urn:nestjs-idempotent:lock-busy',
        title: 'Another request holds the lock of this resource',
        status: 409,
        code: 'lock-busy',
        retryAfterMs: expect.any(Number),
      },
    });
    await service.go(refund.refundId);
    await Promise.all([first, service.paid(refund.refundId)]);
    expect(await paid(refund)).toBe(1);
    expect(await send('pay.locked', command())).toMatchObject({ error: { code: 'lock-name-invalid' } });
  });

  if (transport === 'TCP') {
    it('G12 tells that the lock was lost', async () => {
      const refund = command({ account: randomUUID(), loses: true });
      expect(await send('pay.losing', refund)).toMatchObject({ error: { status: 409, code: 'lock-lost' } });
      expect(await paid(refund)).toBe(0);
    });
  }

  it('a controller made per message runs once and is answered again with the same', async () => {
    const refund = command();
    const first = await send('pay.scoped', refund);
    expect(first).toEqual({ refundId: refund.refundId, payout: 1, attempt: 1 });
    expect(await send('pay.scoped', refund, 1)).toEqual(first);
    expect(await paid(refund)).toBe(1);
  });

  if (transport in RECORDS) {
    it('reads the key from a header of the message', async () => {
      const refund = command();
      const key = randomUUID();
      // A new one each time: sending it takes it apart.
      const record = () => RECORDS[transport as keyof typeof RECORDS](refund, key);
      const first = await send('pay.header', await record());
      expect(first).toMatchObject({ attempt: 1 });
      expect(await send('pay.header', await record())).toEqual(first);
      expect(await send('pay.header', refund)).toMatchObject({ error: { code: 'key-missing' } });
      expect(await paid(refund)).toBe(1);
    });
  }

  it('G31 replays a recorded HttpException and a recorded RpcException as they were thrown', async () => {
    const http = command({ fails: 'http' });
    const rpc = command({ fails: 'rpc' });
    const first = [await send('pay.lasting', http), await send('pay.lasting', rpc)];
    expect(first[1]).toEqual({ error: { status: 422, message: 'closed' } });
    expect([await send('pay.lasting', http), await send('pay.lasting', rpc)]).toEqual(first);
    expect([await paid(http), await paid(rpc)]).toEqual([1, 1]);
  });

  it('G31 an error that is none of the caller frees the key', async () => {
    const refund = command({ fails: 'error' });
    expect(await send('pay.waiting', refund)).toEqual({
      error: { status: 'error', message: 'Internal server error' },
    });
    // The next attempt succeeds; its recorded step is not done again.
    await expect(eventually(() => send('pay.waiting', refund))).resolves.toMatchObject({ attempt: 2 });
    expect(await paid(refund)).toBe(1);
  });

  async function eventually(ask: () => Promise<any>): Promise<unknown> {
    for (let left = 100; ; left -= 1) {
      const answer = await ask();
      if (!answer.error || left === 0) return answer;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  // The last one: it ends a service.
  it('G51 a service killed after the effect: its duplicate is refused where the outcome counts', async () => {
    const refund = command({ dies: true });
    send('pay.careful', refund).catch(() => undefined);
    await Promise.any(stage.services.map(({ process }) => process.exited));
    const survivor = stage.services.findIndex(({ process }) => process.running);
    const deadline = performance.now() + 15_000;
    let answer: any;
    do {
      answer = await send('pay.careful', refund, survivor);
    } while (answer.error?.code === 'in-progress' && performance.now() < deadline);
    expect(answer).toMatchObject({ error: { status: 409, code: 'outcome-uncertain' } });
    expect(await paid(refund)).toBe(1);
  });
});

describe('HTTP and messages in one application', () => {
  testHybridApplication();
});
