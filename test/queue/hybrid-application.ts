import { randomUUID } from 'node:crypto';
import { Body, Controller, type LoggerService, Post } from '@nestjs/common';
import {
  type ClientProxy,
  ClientProxyFactory,
  MessagePattern,
  type MicroserviceOptions,
  Payload,
  Transport,
} from '@nestjs/microservices';
import { Idempotent, Locked } from 'nestjs-idempotent';
import { redisLock } from 'nestjs-idempotent/locks/redis';
import { lastValueFrom } from 'rxjs';
import { freePort } from '../../sample-app/servers/ports.js';
import { expectReplayOf, startApp, type TestApp } from '../support/http-app.js';
import { type FaultProxy, startProxy } from '../support/proxy.js';
import { redisClient } from '../support/redis-client.js';
import { sharedRedisUrl } from '../support/shared-servers.js';

/** One process with an HTTP server and two microservices, of which one has what is global in the application. */
export function testHybridApplication(): void {
  const ran: string[] = [];

  @Controller()
  class Refunds {
    @Post('refunds')
    @Idempotent('{body.id}')
    create(@Body() _body: object) {
      return { http: ran.push('http') };
    }

    @MessagePattern('refund')
    @Idempotent('{payload.id}')
    pay(@Payload() _command: object) {
      return { message: ran.push('message') };
    }

    @MessagePattern('refund.header')
    @Idempotent()
    byHeader(@Payload() _command: object) {
      return ran.push('by header');
    }

    @MessagePattern('refund.optional')
    @Idempotent('{payload.id}', { required: false })
    optional(@Payload() _command: object) {
      return ran.push('optional');
    }

    @MessagePattern('refund.locked')
    @Locked('refund:{payload.id}')
    async locked(@Payload() _command: object) {
      return ran.push('locked');
    }
  }

  const errors: string[] = [];
  const logger: LoggerService = {
    log: () => undefined,
    warn: () => undefined,
    error: (message: unknown) => void errors.push(String(message)),
  };
  let app: TestApp;
  let inheriting: ClientProxy;
  let alone: ClientProxy;
  let toRedis: FaultProxy;

  beforeAll(async () => {
    const tcp = async () => ({ transport: Transport.TCP as const, options: { port: await freePort() } });
    const [first, second] = [await tcp(), await tcp()];
    toRedis = await startProxy(Number(new URL(sharedRedisUrl()).port));
    const lock = redisLock({ client: redisClient(toRedis.url(sharedRedisUrl())) });
    app = await startApp({
      controllers: [Refunds],
      module: { lock, backendTimeoutMs: 500 },
      logger,
      setup: async (hybrid) => {
        hybrid.connectMicroservice<MicroserviceOptions>(first, { inheritAppConfig: true });
        hybrid.connectMicroservice<MicroserviceOptions>(second);
        await hybrid.init();
        await hybrid.startAllMicroservices();
      },
    });
    [inheriting, alone] = [ClientProxyFactory.create(first), ClientProxyFactory.create(second)];
  });
  afterAll(async () => {
    await Promise.all([inheriting.close(), alone.close()]);
    await app.close();
  });
  beforeEach(() => void ran.splice(0));

  it('G41 each handler runs once for a key, and knows nothing of the other', async () => {
    const id = randomUUID();
    const send = () => lastValueFrom(inheriting.send('refund', { id }));
    const first = await app.post('/refunds', null, { id });
    const messages = [await send(), await send()];
    expectReplayOf(first, await app.post('/refunds', null, { id }));
    expect(first.json).toEqual({ http: 1 });
    expect(messages).toEqual([{ message: 2 }, { message: 2 }]);
    expect(ran).toEqual(['http', 'message']);
  });

  it.each(['refund', 'refund.header', 'refund.optional'])(
    'a message that passes no interceptor is refused, and the log tells what to do (%s)',
    async (pattern) => {
      const refused = lastValueFrom(alone.send(pattern, { id: randomUUID() }));
      await expect(refused).rejects.toMatchObject({ message: 'Internal server error' });
      expect(ran).toEqual([]);
      expect(errors.at(-1)).toMatch(
        /^IdempotencyOptionsError: @Idempotent on Refunds\..*inheritAppConfig: true/,
      );
    },
  );

  // The last one: it takes Redis away.
  it('G85 locks that cannot be taken: who sent the message is told, and the handler does not run', async () => {
    const send = () => lastValueFrom(inheriting.send('refund.locked', { id: randomUUID() }));
    expect(await send()).toBe(1);
    await toRedis.close();
    await expect(send()).rejects.toEqual({
      type: 'urn:nestjs-idempotent:lock-unavailable',
      title: 'Locks cannot be taken at the moment',
      status: 503,
      code: 'lock-unavailable',
      retryAfterMs: 1_000,
    });
    expect(ran).toEqual(['locked']);
  });
}
