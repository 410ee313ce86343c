import { Controller, type INestMicroservice } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  type CustomTransportStrategy,
  EventPattern,
  KafkaContext,
  KafkaRetriableException,
  MessagePattern,
  Server,
} from '@nestjs/microservices';
import { Idempotent, IdempotencyModule, Locked, memoryLock, memoryStore } from 'nestjs-idempotent';
import { lastValueFrom } from 'rxjs';
import { Gate } from '../support/http-app.js';

/** Hands messages to Nest's handlers as its Kafka server does, without a broker. */
class HandedOver extends Server implements CustomTransportStrategy {
  private offset = 0;

  listen(callback: () => void): void {
    callback();
  }
  close(): void {}
  on(): void {}
  unwrap(): never {
    throw new Error('there is nothing below');
  }

  async deliver(pattern: string, data: unknown, headers: object = {}): Promise<unknown> {
    const message = { offset: String(this.offset++), headers };
    const context = new KafkaContext([message, 0, 'refunds', {}, async () => undefined, {}] as never);
    const answer = await this.getHandlerByPattern(pattern)!(data, context);
    return lastValueFrom(this.transformToObservable(answer));
  }
}

const REQUEST = { kafka_replyTopic: Buffer.from('answers'), kafka_correlationId: Buffer.from('1') };

let runs = 0;
let entered = new Gate();
let leave = new Gate();

@Controller()
class Refunds {
  @MessagePattern('pay')
  @Idempotent('{payload.id}')
  async pay(_command: object) {
    runs++;
    entered.open();
    await leave.opened;
    return runs;
  }

  @MessagePattern('close')
  @Locked('account:{payload.id}')
  async close(_command: object) {
    runs++;
    entered.open();
    await leave.opened;
    return runs;
  }

  @EventPattern('lasting')
  @Idempotent('{payload.id}', { onError: 'replay' })
  async lasting(_event: object) {
    runs++;
    throw new Error('the bank is closed');
  }
}

const server = new HandedOver();
let app: INestMicroservice;

beforeAll(async () => {
  const backends = { store: memoryStore(), lock: memoryLock() };
  const imports = [IdempotencyModule.forRoot({ principal: 'none', ...backends, sweep: false })];
  const root = { module: Refunds, imports, controllers: [Refunds] };
  app = await NestFactory.createMicroservice(root, { strategy: server, logger: ['fatal'] });
  await app.listen();
});
afterAll(() => app.close());
beforeEach(() => {
  runs = 0;
  entered = new Gate();
  leave = new Gate();
});

it.each([
  ['a request', REQUEST],
  ['an event', {}],
])(
  'G54 %s that is a duplicate of a running one is delivered again, and answered then',
  async (id, headers) => {
    const first = server.deliver('pay', { id }, headers);
    await entered.opened;
    await expect(server.deliver('pay', { id }, headers)).rejects.toBeInstanceOf(KafkaRetriableException);
    leave.open();
    expect([await first, await server.deliver('pay', { id }, headers), runs]).toEqual([1, 1, 1]);
  },
);

it('G61 a message whose lock is taken is delivered again, and runs then', async () => {
  const first = server.deliver('close', { id: 'l' });
  await entered.opened;
  for (const headers of [{}, REQUEST])
    await expect(server.deliver('close', { id: 'l' }, headers)).rejects.toBeInstanceOf(
      KafkaRetriableException,
    );
  leave.open();
  expect([await first, await server.deliver('close', { id: 'l' }, REQUEST)]).toEqual([1, 2]);
});

it('G07 a request with another payload has the problem', async () => {
  leave.open();
  await server.deliver('pay', { id: 'p' }, REQUEST);
  await expect(server.deliver('pay', { id: 'p', amount: 1 }, REQUEST)).rejects.toMatchObject({
    code: 'key-reused',
  });
});

it('G31 a duplicate of an event whose error is recorded is done', async () => {
  await expect(server.deliver('lasting', { id: 1 })).rejects.toMatchObject({ status: 'error' });
  expect(await server.deliver('lasting', { id: 1 })).toBeUndefined();
  expect(runs).toBe(1);
});
