import {
  Controller,
  Inject,
  Injectable,
  Module,
  type OnApplicationBootstrap,
  Post,
  Scope,
  Sse,
  type Type,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import {
  Idempotent,
  IdempotencyModule,
  type IdempotencyModuleOptions,
  IdempotencyOptionsError,
  IdempotencyService,
  LockService,
  memoryLock,
  memoryStore,
} from 'nestjs-idempotent';
import { of } from 'rxjs';
import { expectReplayOf, fetchAnswer, PLATFORMS, startApp } from '../support/http-app.js';

let ran = 0;
beforeEach(() => {
  ran = 0;
});

@Controller()
class Refunds {
  @Post('refund') @Idempotent() refund() {
    return { ran: ++ran };
  }
}

const OPTIONS: IdempotencyModuleOptions = { principal: 'none', store: memoryStore(), lock: memoryLock() };

@Injectable()
class Settings {
  createIdempotencyOptions(): IdempotencyModuleOptions {
    return { ...OPTIONS, store: memoryStore() };
  }
  create(): IdempotencyModuleOptions {
    return this.createIdempotencyOptions();
  }
}

@Module({ providers: [Settings], exports: [Settings] })
class SettingsModule {}

@Injectable()
class Elsewhere {
  constructor(
    @Inject(IdempotencyService) readonly service: IdempotencyService,
    @Inject(LockService) readonly locks: LockService,
  ) {}
}

@Module({ providers: [Elsewhere] })
class ElsewhereModule {}

/** Starts an app of a module on both platforms and asks it twice. */
async function worksWith(imports: any[], platform: (typeof PLATFORMS)[number] = 'express') {
  @Module({ imports, controllers: [Refunds] })
  class TestModule {}
  const adapter = platform === 'express' ? new ExpressAdapter() : new FastifyAdapter();
  const app = await NestFactory.create(TestModule, adapter as never, { logger: false, abortOnError: false });
  await app.listen(0, '127.0.0.1');
  const url = await app.getUrl();
  const ask = () => fetchAnswer(`${url}/refund`, { method: 'POST', headers: { 'idempotency-key': 'k' } });
  try {
    const first = await ask();
    expect([first.status, first.json]).toEqual([201, { ran: 1 }]);
    expectReplayOf(first, await ask());
  } finally {
    await app.close();
  }
}

describe('the module', () => {
  it.each(PLATFORMS)('works by forRoot, %s', (platform) =>
    worksWith([IdempotencyModule.forRoot({ ...OPTIONS, store: memoryStore() })], platform),
  );

  it.each(PLATFORMS)('works by forRootAsync with a factory that waits and injects, %s', (platform) =>
    worksWith(
      [
        IdempotencyModule.forRootAsync({
          imports: [SettingsModule],
          inject: [Settings],
          useFactory: async (settings: Settings) => {
            await new Promise(setImmediate);
            return settings.create();
          },
        }),
      ],
      platform,
    ),
  );

  it('works by forRootAsync with a class', () =>
    worksWith([IdempotencyModule.forRootAsync({ useClass: Settings })]));

  it('works by forRootAsync with a class of another module', () =>
    worksWith([IdempotencyModule.forRootAsync({ imports: [SettingsModule], useExisting: Settings })]));

  it('works imported by a module below the root, for controllers everywhere', async () => {
    @Module({ imports: [IdempotencyModule.forRoot({ ...OPTIONS, store: memoryStore() })] })
    class CoreModule {}
    await worksWith([CoreModule]);
  });

  it('works with the testing module, whose adapter comes late', async () => {
    for (const make of [() => new ExpressAdapter(), () => new FastifyAdapter()]) {
      ran = 0;
      const module = await Test.createTestingModule({
        imports: [IdempotencyModule.forRoot({ ...OPTIONS, store: memoryStore() })],
        controllers: [Refunds],
      }).compile();
      const app = module.createNestApplication(make() as never, { logger: false });
      await app.listen(0, '127.0.0.1');
      const url = `${await app.getUrl()}/refund`;
      const ask = () => fetchAnswer(url, { method: 'POST', headers: { 'idempotency-key': 'k' } });
      expectReplayOf(await ask(), await ask());
      await app.close();
    }
  });

  it('is global: its services are there in every module', async () => {
    await using app = await startApp({ imports: [ElsewhereModule] });
    expect(app.app.get(Elsewhere, { strict: false }).service).toBe(app.app.get(IdempotencyService));
    expect(app.app.get(Elsewhere, { strict: false }).locks).toBeInstanceOf(LockService);
  });

  it('with isGlobal: false they are not', async () => {
    @Module({ imports: [IdempotencyModule.forRoot({ ...OPTIONS, isGlobal: false }), ElsewhereModule] })
    class TestModule {}
    await expect(
      NestFactory.createApplicationContext(TestModule, { logger: false, abortOnError: false }),
    ).rejects.toThrow(/can't resolve dependencies of the Elsewhere/);
  });

  it.each([
    ['nothing', () => undefined],
    ['null', () => null],
    ['a mistake', () => ({ ...OPTIONS, leaseMs: 1 })],
  ])('G83 does not start when the factory gives %s', async (_name, useFactory) => {
    @Module({ imports: [IdempotencyModule.forRootAsync({ useFactory: useFactory as never })] })
    class TestModule {}
    await expect(
      NestFactory.createApplicationContext(TestModule, { logger: false, abortOnError: false }),
    ).rejects.toThrow(IdempotencyOptionsError);
  });

  it('the lock service refuses to pretend when there is no lock', async () => {
    await using app = await startApp({ module: { lock: undefined as never } });
    const result = await app.app.get(LockService).acquire('order:1', { ttlMs: 1_000 });
    expect(result.status).toBe('unavailable');
    expect(String((result as { cause: unknown }).cause)).toMatch(/lock/);
  });
});

describe('what is refused at the start', () => {
  const failureOf = async (controllers: Type[], providers: any[] = []) => {
    const app = await startApp({ controllers, providers }).catch((error: unknown) => error);
    if (!(app instanceof Error)) await (app as { close(): Promise<void> }).close();
    return app as Error;
  };

  it('an event stream', async () => {
    @Controller()
    class Events {
      @Sse('events') @Idempotent() events() {
        return of({ data: 1 });
      }
    }
    const error = await failureOf([Events]);
    expect(error).toBeInstanceOf(IdempotencyOptionsError);
    expect(error.message).toMatch(
      /^@Idempotent on Events\.events: an @Sse\(\) stream has no end .* decorate the call/,
    );
  });

  it('two classes of one name and one method', async () => {
    const make = (path: string, options = {}): Type => {
      @Controller(path)
      class Payments {
        @Post() @Idempotent(options) pay() {
          return { ran: ++ran };
        }
      }
      return Payments;
    };
    const error = await failureOf([make('a'), make('b')]);
    expect(error).toBeInstanceOf(IdempotencyOptionsError);
    expect(error.message).toMatch(
      /^@Idempotent on Payments\.pay: two different classes have this name.*scope/,
    );
    await using app = await startApp({ controllers: [make('a'), make('b', { scope: 'payments of b' })] });
    await app.post('/a', 'k', {});
    await app.post('/b', 'k', {});
    expect(ran).toBe(2);
  });

  it('one class in two modules is one class', async () => {
    @Injectable()
    class Bank {
      @Idempotent('pay:{args.0}') async pay(_id: string) {
        return ++ran;
      }
    }
    @Module({ providers: [Bank], exports: [Bank] })
    class OtherModule {}
    await using app = await startApp({ imports: [OtherModule], providers: [Bank] });
    expect(await app.app.get(Bank).pay('o')).toBe(1);
    expect(await app.app.select(OtherModule).get(Bank).pay('o')).toBe(1);
  });

  it('something that is no method', () => {
    const decorate = () => {
      class Payments {
        @(Idempotent() as PropertyDecorator) accessor: unknown;
      }
      return Payments;
    };
    expect(decorate).toThrow(/^@Idempotent on Payments\.accessor: put it on a method/);
  });

  it('G83 a wrong option of a provider made per request', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class PerRequest {
      @Idempotent('r:{args.0}', { leaseMs: 1 }) async run(_day: string) {}
    }
    const error = await failureOf([], [PerRequest]);
    expect(error.message).toMatch(/^@Idempotent on PerRequest\.run: leaseMs is 1/);
  });

  it('G83 a wrong option of a provider made by a factory', async () => {
    class Made {
      @Idempotent('r:{args.0}', { onError: 'ignore' as never }) async run(_day: string) {}
    }
    const error = await failureOf([], [{ provide: 'MADE', useFactory: () => new Made() }]);
    expect(error.message).toMatch(/^@Idempotent on Made\.run: onError is "ignore"/);
  });
});

describe.each(PLATFORMS)('%s', (platform) => {
  it('a controller made per request', async () => {
    @Controller({ scope: Scope.REQUEST })
    class PerRequest {
      private readonly nth = ++ran;
      @Post('refund') @Idempotent() refund() {
        return { nth: this.nth };
      }
    }
    await using app = await startApp({ platform, controllers: [PerRequest] });
    const first = await app.post('/refund', 'k', {});
    expect(first.json).toEqual({ nth: 1 });
    expectReplayOf(first, await app.post('/refund', 'k', {}));
  });

  it('a controller that extends another, decorated there', async () => {
    class Base {
      @Post('refund') @Idempotent() refund() {
        return { ran: ++ran, by: this.constructor.name };
      }
    }
    @Controller('a')
    class A extends Base {}
    @Controller('b')
    class B extends Base {}
    await using app = await startApp({ platform, controllers: [A, B] });
    const first = await app.post('/a/refund', 'k', {});
    expect(first.json).toEqual({ ran: 1, by: 'A' });
    expect((await app.post('/b/refund', 'k', {})).json).toEqual({ ran: 2, by: 'B' });
    expectReplayOf(first, await app.post('/a/refund', 'k', {}));
  });

  it('decorators may stand in any order', async () => {
    @Controller()
    class Any {
      @Idempotent() @Post('above') above() {
        return ++ran;
      }
      @Post('below') @Idempotent() below() {
        return ++ran;
      }
    }
    await using app = await startApp({ platform, controllers: [Any] });
    for (const path of ['/above', '/below'])
      expectReplayOf(await app.post(path, 'k', {}), await app.post(path, 'k', {}));
    expect(ran).toBe(2);
  });

  it('is set up before the app asks for anything', async () => {
    @Injectable()
    class Eager implements OnApplicationBootstrap {
      @Idempotent('start:{args.0}') async run(_day: string) {
        return ++ran;
      }
      async onApplicationBootstrap() {
        await this.run('mon');
      }
    }
    await using app = await startApp({ platform, providers: [Eager] });
    expect([await app.app.get(Eager).run('mon'), ran]).toEqual([1, 1]);
  });
});
