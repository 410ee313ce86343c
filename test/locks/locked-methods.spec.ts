import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Injectable, Module, Scope, Sse } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  Idempotent,
  IdempotencyContext,
  IdempotencyModule,
  type IdempotencyModuleOptions,
  IdempotencyOptionsError,
  Locked,
  LockLease,
  LockNotAcquiredError,
  LockService,
  memoryLock,
  memoryStore,
  seconds,
} from 'nestjs-idempotent';
import { redisLock } from 'nestjs-idempotent/locks/redis';
import { unprotected } from 'nestjs-idempotent/testing';
import { from, lastValueFrom, type Observable, of, toArray } from 'rxjs';
import { Gate } from '../support/http-app.js';
import { redisClient } from '../support/redis-client.js';
import { sharedRedisUrl } from '../support/shared-servers.js';

let ran = 0;
let entered = new Gate();
let leave = new Gate();

beforeEach(() => {
  ran = 0;
  [entered, leave] = [new Gate(), new Gate()];
});

interface Sku {
  readonly sku: string;
}

@Injectable()
class Stock {
  count = 0;

  @Locked('stock:{args.0}', { waitMs: seconds(20) })
  async take(_sku: string): Promise<number> {
    const seen = this.count;
    await sleep(1);
    this.count = seen + 1;
    return seen;
  }

  @Locked(({ args }) => `stock:${(args[0] as Sku).sku}`)
  async hold(_item: Sku): Promise<string> {
    ran++;
    entered.open();
    await leave.opened;
    return LockLease.current()!.name;
  }

  @Locked('stock:{args.0}')
  async fails(_sku: string): Promise<void> {
    throw new RangeError('none left');
  }

  @Locked('stock:{args.0}')
  sync(sku: string): any {
    return { sku, ran: ++ran };
  }

  @Locked('stock:{args.0}')
  emits(_sku: string): any {
    return from([1, 2, 3]);
  }

  @Locked('stock:{args.0}')
  breaks(_sku: string): any {
    return from(
      (function* () {
        yield 1;
        throw new RangeError('half way');
      })(),
    );
  }

  @Locked('stock:{args.0}', { waitMs: seconds(20) })
  async nested(sku: string, other = sku): Promise<unknown> {
    const outer = LockLease.current()!.name;
    return { outer, inner: await this.hold({ sku: other }), again: LockLease.current()!.name };
  }

  @Idempotent('take:{args.1}')
  @Locked('stock:{args.0}')
  async outside(sku: string, _key: string): Promise<unknown> {
    return { sku, ran: ++ran, attempt: IdempotencyContext.current()!.attempt };
  }

  @Locked('stock:{args.0}')
  @Idempotent('take:{args.1}')
  async inside(sku: string, _key: string): Promise<unknown> {
    return { sku, ran: ++ran, attempt: IdempotencyContext.current()!.attempt };
  }

  @Locked(() => 42 as never)
  async number(): Promise<void> {
    ran++;
  }
}

@Injectable({ scope: Scope.TRANSIENT })
class Many {
  @Locked('stock:{args.0}')
  async hold(_sku: string): Promise<void> {
    ran++;
  }
}

async function start(providers: any[] = [Stock], module: Partial<IdempotencyModuleOptions> = {}) {
  const options = { principal: 'none' as const, store: memoryStore(), lock: memoryLock(), ...module };
  @Module({ imports: [IdempotencyModule.forRoot(options)], providers })
  class TestModule {}
  const app = await NestFactory.createApplicationContext(TestModule, { logger: false, abortOnError: false });
  return Object.assign(app, { [Symbol.asyncDispose]: () => app.close() });
}

const statusOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'acquired',
    (error: unknown) => (error instanceof LockNotAcquiredError ? error.status : String(error)),
  );

describe('@Locked on a method of a provider', () => {
  it('G60 an unprotected counter loses nothing', async () => {
    await using app = await start();
    const stock = app.get(Stock);
    const seen = await Promise.all(Array.from({ length: 30 }, () => stock.take('a')));
    expect(seen).toEqual(Array.from({ length: 30 }, (_, i) => i));
    expect(stock.count).toBe(30);
  });

  it('excludes by name: other methods, LockService.using, other apps; not other names', async () => {
    const lock = () => redisLock({ client: redisClient(sharedRedisUrl()), keyPrefix: 'locked:' });
    await using app = await start([Stock], { lock: lock() });
    await using other = await start([Stock], { lock: lock() });
    const holding = app.get(Stock).hold({ sku: 'a' });
    await entered.opened;
    expect(await statusOf(app.get(Stock).sync('a'))).toBe('busy');
    expect(await statusOf(other.get(Stock).sync('a'))).toBe('busy');
    expect(await statusOf(other.get(LockService).using('stock:a', { ttlMs: 1_000 }, () => 1))).toBe('busy');
    expect(await statusOf(other.get(Stock).sync('b'))).toBe('acquired');
    leave.open();
    expect(await holding).toBe('stock:a');
    expect(await statusOf(other.get(Stock).sync('a'))).toBe('acquired');
    expect(LockLease.current()).toBeUndefined();
  });

  it('gives back what the method throws, and the lock', async () => {
    await using app = await start();
    await expect(app.get(Stock).fails('a')).rejects.toThrow(RangeError);
    expect(await app.get(Stock).sync('a')).toEqual({ sku: 'a', ran: 1 });
  });

  it('passes every value of an Observable on, and its error', async () => {
    await using app = await start();
    const emitted = (await app.get(Stock).emits('a')) as Observable<number>;
    expect(await lastValueFrom(emitted.pipe(toArray()))).toEqual([1, 2, 3]);
    const broken = (await app.get(Stock).breaks('a')) as Observable<number>;
    await expect(lastValueFrom(broken)).rejects.toThrow('half way');
    expect(await statusOf(app.get(Stock).sync('a'))).toBe('acquired');
  });

  it('a call that is part of the one holding the lock is refused at once instead of waiting for itself', async () => {
    await using app = await start();
    const stock = app.get(Stock);
    const error = await stock.nested('a').catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ status: 'busy', message: expect.stringContaining('wait for itself') });
    leave.open();
    expect(await stock.nested('a', 'b')).toEqual({ outer: 'stock:a', inner: 'stock:b', again: 'stock:a' });
    expect(ran).toBe(1);
  });

  it.each(['outside', 'inside'] as const)('with @Idempotent %s: a replay takes no lock', async (where) => {
    await using app = await start();
    const stock = app.get(Stock);
    const holding = stock.hold({ sku: 'a' });
    await entered.opened;
    expect(await statusOf(stock[where]('a', 'key'))).toBe('busy');
    leave.open();
    await holding;
    const first = await stock[where]('a', 'key');
    expect(first).toMatchObject({ sku: 'a', ran: 2 });
    leave = new Gate();
    entered = new Gate();
    const again = stock.hold({ sku: 'a' });
    await entered.opened;
    expect(await stock[where]('a', 'key')).toEqual(first);
    leave.open();
    await again;
  });

  it('runs as it is where a unit test says so, and is refused where nobody manages the object', async () => {
    const error = await Promise.resolve()
      .then(() => new Stock().sync('a'))
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(IdempotencyOptionsError);
    expect(String(error)).toContain('@Locked on Stock.sync: no IdempotencyModule manages this object');
    expect(unprotected(new Stock()).sync('a')).toEqual({ sku: 'a', ran: 1 });
  });

  it('works on transient providers', async () => {
    await using app = await start([Many]);
    await using _ = await app
      .get(LockService)
      .acquire('stock:a', { ttlMs: 5_000 })
      .then((result) => (result.status === 'acquired' ? result.lease : undefined));
    const many = await app.resolve(Many);
    expect(await statusOf(many.hold('a'))).toBe('busy');
    expect(await statusOf(many.hold('b'))).toBe('acquired');
  });

  it('a key function that makes no text is named', async () => {
    await using app = await start();
    await expect(app.get(Stock).number()).rejects.toThrow(
      '@Locked on Stock.number: the key function returned a number; it must return a string',
    );
    expect(ran).toBe(0);
  });
});

describe('G83 @Locked refuses at start-up', () => {
  const refusal = (make: () => unknown) =>
    Promise.resolve()
      .then(make)
      .then(
        () => 'no error',
        (error: Error) => `${error.name}: ${error.message}`,
      );
  const startWith = (decorator: MethodDecorator, module: Partial<IdempotencyModuleOptions> = {}) =>
    refusal(async () => {
      class Shop {
        async sell(): Promise<void> {}
      }
      const descriptor = Object.getOwnPropertyDescriptor(Shop.prototype, 'sell')!;
      const decorated = decorator(Shop.prototype, 'sell', descriptor);
      Object.defineProperty(Shop.prototype, 'sell', decorated ?? descriptor);
      await using _ = await start([Shop], module);
    });

  it.each<[string, MethodDecorator, string]>([
    ['a template without a placeholder', Locked('order'), 'has no placeholder'],
    ['no key', (Locked as () => MethodDecorator)(), 'say what is locked'],
    ['a life of nothing', Locked('{args.0}', { ttlMs: 0 }), 'ttlMs is 0; it must be an integer from 10 to'],
    ['a negative wait', Locked('{args.0}', { waitMs: -1 }), 'waitMs is -1; it must be an integer from 0 to'],
    ['no boolean', Locked('{args.0}', { renew: 1 as never }), 'renew is 1; it must be true or false'],
    ['an unknown option', Locked('{args.0}', { wait: 1 } as never), 'wait is not an option here'],
    [
      'less than one life',
      Locked('{args.0}', { ttlMs: 100, maxHoldMs: 50 }),
      'maxHoldMs is 50; it must be at least ttlMs, which is 100',
    ],
  ])('%s', async (_, decorator, message) => {
    const said = await startWith(decorator);
    expect(said).toContain('IdempotencyOptionsError: @Locked on Shop.sell: ');
    expect(said).toContain(message);
  });

  it('a module without a lock', async () => {
    expect(await startWith(Locked('{args.0}'), { lock: undefined })).toBe(
      'IdempotencyOptionsError: @Locked on Shop.sell: IdempotencyModule has no `lock`; add one, for example ' +
        'lock: redisLock({ client })',
    );
  });

  it('what is no method, what is there twice, what another decorator has come between', async () => {
    const on = (descriptor: PropertyDescriptor, ...decorators: MethodDecorator[]) =>
      refusal(() => decorators.forEach((decorator) => decorator({ constructor: Stock }, 'x', descriptor)));
    const between: MethodDecorator = (_target, _property, descriptor) => {
      const { value } = descriptor as PropertyDescriptor;
      const wrapper = () => value() as unknown;
      for (const key of Reflect.getMetadataKeys(value as object))
        Reflect.defineMetadata(key, Reflect.getMetadata(key, value as object), wrapper);
      (descriptor as PropertyDescriptor).value = wrapper;
    };
    const method = () => ({ value: async () => of(1) });
    const locked = Locked('{args.0}');
    expect(await on({ get: () => 1 }, locked)).toContain('@Locked on Stock.x: put it on a method');
    expect(await on(method(), locked, locked)).toContain('@Locked on Stock.x: it is there twice');
    for (const [first, last] of [
      [locked, Idempotent('{args.0}')],
      [Idempotent('{args.0}'), locked],
    ] as const) {
      expect(await on(method(), first, between, last)).toContain('next to each other');
      expect(await on(method(), between, first, last)).toBe('no error');
    }
  });

  it('an event stream', async () => {
    @Controller()
    class Events {
      @Sse('events') @Locked('{query.id}') events(): any {
        return of({ data: 1 });
      }
    }
    expect(await refusal(() => start([Events]))).toContain('@Locked on Events.events: an @Sse() stream');
  });
});
