import {
  BadRequestException,
  Controller,
  ForbiddenException,
  HttpException,
  Inject,
  Injectable,
  InternalServerErrorException,
  Module,
  NotFoundException,
  Post,
  Scope,
} from '@nestjs/common';
import { ContextIdFactory, NestFactory, REQUEST } from '@nestjs/core';
import {
  Idempotent,
  IdempotencyContext,
  IdempotencyError,
  IdempotencyModule,
  type IdempotencyModuleOptions,
  IdempotencyOptionsError,
  IdempotencyService,
  memoryLock,
  memoryStore,
} from 'nestjs-idempotent';
import { from, of } from 'rxjs';
import { expectProblem, Gate, PLATFORMS, startApp } from '../support/http-app.js';

let ran = 0;
let entered = new Gate();
let leave = new Gate();

beforeEach(() => {
  ran = 0;
  entered = new Gate();
  leave = new Gate();
});

class Receipt {
  constructor(readonly id: number) {}

  print() {
    return `receipt ${this.id}`;
  }
}

const VALUES = {
  date: new Date(86_400_000),
  map: new Map<unknown, unknown>([['a', { deep: new Set([1n]) }]]),
  bigint: 2n ** 80n,
  bytes: new Uint8Array([0, 1, 255]),
  nothing: undefined,
  null: null,
  'not a number': NaN,
  'minus zero': -0,
  error: new RangeError('returned'),
  expression: /a+/giu,
  text: 'ünï 😀',
  list: [1, undefined, 3],
} as const;
const circular: { self?: unknown } = {};
circular.self = circular;

@Injectable()
class Days {
  @Idempotent('close:{args.0}')
  async close(day: string, result?: unknown): Promise<unknown> {
    ran++;
    return result === undefined ? { day, ran } : VALUES[result as keyof typeof VALUES];
  }
  @Idempotent('sync:{args.0}') sync(day: string): unknown {
    return { day, ran: ++ran };
  }
  @Idempotent('many:{args.0}') many(_day: string): unknown {
    ran++;
    return from([1, 2, 3]);
  }
  @Idempotent('circular:{args.0}') circular(_day: string): any {
    ran++;
    return circular;
  }
  @Idempotent('receipt:{args.0}') receipt(_day: string): any {
    return new Receipt(++ran);
  }
  @Idempotent('function:{args.0}') function(_day: string): unknown {
    ran++;
    return { f: () => 1 };
  }
  @Idempotent('fails:{args.0}') async fails(_day: string, status: number): Promise<unknown> {
    throw new HttpException({ ran: ++ran, why: 'because' }, status);
  }
  @Idempotent('breaks:{args.0}') async breaks(_day: string): Promise<unknown> {
    if (++ran === 1) throw new TypeError('a bug');
    return ran;
  }
  @Idempotent('broken:{args.0}', { onError: 'replay' }) async broken(_day: string): Promise<unknown> {
    ran++;
    throw new TypeError('a bug');
  }
  @Idempotent('slow:{args.0}') async slow(day: string): Promise<unknown> {
    ran++;
    entered.open();
    await leave.opened;
    return day;
  }
  @Idempotent('patient:{args.0}', { onConflict: 'wait' }) async patient(day: string): Promise<unknown> {
    return this.slow(day);
  }
  @Idempotent('large:{args.0}', { maxResponseBytes: 100 }) large(_day: string): unknown {
    ran++;
    return 'x'.repeat(200);
  }
  @Idempotent('outer:{args.0}') async outer(day: string): Promise<unknown> {
    const before = IdempotencyContext.current()!.key;
    const inner = await this.close(day);
    return { before, inner, after: IdempotencyContext.current()!.key, ran: ++ran };
  }
  @Idempotent('down:{args.0}') async down(n: number): Promise<number> {
    ran++;
    return n === 0 ? 0 : n + (await this.down(n - 1));
  }
  @Idempotent('loop:{args.0}') async loop(n: number): Promise<unknown> {
    ran++;
    return this.loop(n);
  }
  @Idempotent('optional:{args.0}', { required: false }) async optional(_day?: string): Promise<number> {
    return ++ran;
  }
  @Idempotent() async byHeader(): Promise<number> {
    return ++ran;
  }
  @Idempotent('web:{args.0}') async web(_day: string, _request: unknown): Promise<number> {
    return ++ran;
  }
  plain() {
    return this.close('inner');
  }
}

async function start(providers: any[] = [Days], module: Partial<IdempotencyModuleOptions> = {}) {
  const options = { principal: 'none' as const, store: memoryStore(), lock: memoryLock(), ...module };
  @Module({ imports: [IdempotencyModule.forRoot(options)], providers })
  class TestModule {}
  const app = await NestFactory.createApplicationContext(TestModule, { logger: false, abortOnError: false });
  return Object.assign(app, { [Symbol.asyncDispose]: () => app.close() });
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'no error',
    (error: unknown) => (error instanceof IdempotencyError ? error.code : String(error)),
  );

describe('a method of a provider', () => {
  it('runs once per key, later calls get its result', async () => {
    await using app = await start();
    const days = app.get(Days);
    expect(await days.close('mon')).toEqual({ day: 'mon', ran: 1 });
    expect(await days.close('mon')).toEqual({ day: 'mon', ran: 1 });
    expect(await days.close('tue')).toEqual({ day: 'tue', ran: 2 });
    expect(await days.plain()).toEqual({ day: 'inner', ran: 3 });
    expect(ran).toBe(3);
  });

  it('refuses other arguments under the key', async () => {
    await using app = await start();
    const days = app.get(Days);
    await days.close('mon');
    expect(await codeOf(days.close('mon', 'date'))).toBe('key-reused');
  });

  it('refuses a duplicate of a running one, or lets it wait', async () => {
    await using app = await start();
    const days = app.get(Days);
    const first = days.patient('mon');
    await entered.opened;
    expect(await codeOf(days.slow('mon'))).toBe('in-progress');
    const waiting = days.patient('mon');
    leave.open();
    expect([await first, await waiting, ran]).toEqual(['mon', 'mon', 1]);
  });

  it.each(Object.keys(VALUES) as (keyof typeof VALUES)[])('G28 %s comes back as such', async (name) => {
    await using app = await start();
    const days = app.get(Days);
    const first = await days.close('mon', name);
    const second = await days.close('mon', name);
    expect(Object.is(first, VALUES[name])).toBe(true);
    expect(second).toEqual(first);
    expect(Object.prototype.toString.call(second)).toBe(Object.prototype.toString.call(first));
    expect(ran).toBe(1);
  });

  it('G28 circular data comes back circular, an instance as its data', async () => {
    await using app = await start();
    const days = app.get(Days);
    await days.circular('mon');
    const again = await days.circular('mon');
    expect(again.self).toBe(again);
    expect((await days.receipt('mon')).print()).toBe('receipt 2');
    const data = await days.receipt('mon');
    expect([data.id, data.print]).toEqual([2, undefined]);
  });

  it('a synchronous method becomes asynchronous, the last value of an Observable is the result', async () => {
    await using app = await start();
    const days = app.get(Days);
    expect([await days.sync('mon'), await days.sync('mon')]).toEqual([
      { day: 'mon', ran: 1 },
      { day: 'mon', ran: 1 },
    ]);
    expect([await days.many('mon'), await days.many('mon'), ran]).toEqual([3, 3, 2]);
  });

  it.each(['function', 'large'] as const)(
    'G26 %s: the first gets it, duplicates are refused, nothing runs again',
    async (name) => {
      await using app = await start();
      const days = app.get(Days);
      expect(await days[name]('mon')).toBeDefined();
      expect(await codeOf(days[name]('mon') as Promise<unknown>)).toBe('response-not-replayable');
      expect(ran).toBe(1);
    },
  );

  it.each([400, 404, 422])('G31 a thrown %i is thrown again', async (status) => {
    await using app = await start();
    const days = app.get(Days);
    const errorOf = () => days.fails('mon', status).catch((error: unknown) => error);
    const [first, second] = [await errorOf(), await errorOf()] as [HttpException, HttpException];
    expect(second).toBeInstanceOf(HttpException);
    expect([second.getStatus(), second.getResponse(), second.message, second.name]).toEqual([
      first.getStatus(),
      first.getResponse(),
      first.message,
      first.name,
    ]);
    expect([second.getResponse(), ran]).toEqual([{ ran: 1, why: 'because' }, 1]);
  });

  it.each([401, 409, 429, 500, 503])('G31 a thrown %i frees the key', async (status) => {
    await using app = await start();
    const days = app.get(Days);
    await expect(days.fails('mon', status)).rejects.toThrow();
    await expect(days.fails('mon', status)).rejects.toThrow();
    expect(ran).toBe(2);
  });

  it('G31 another error frees the key, unless the route keeps it', async () => {
    await using app = await start();
    const days = app.get(Days);
    await expect(days.breaks('mon')).rejects.toThrow(TypeError);
    expect([await days.breaks('mon'), await days.breaks('mon')]).toEqual([2, 2]);
    await expect(days.broken('mon')).rejects.toThrow('a bug');
    await expect(days.broken('mon')).rejects.toMatchObject({ name: 'TypeError', message: 'a bug' });
    expect(ran).toBe(3);
  });

  it('decorated methods nest, each with a key and a context of its own', async () => {
    await using app = await start();
    const days = app.get(Days);
    const expected = { before: 'outer:mon', inner: { day: 'mon', ran: 1 }, after: 'outer:mon', ran: 2 };
    expect([await days.outer('mon'), await days.outer('mon')]).toEqual([expected, expected]);
    expect(await days.close('mon')).toEqual({ day: 'mon', ran: 1 });
    expect(IdempotencyContext.current()).toBeUndefined();
  });

  it('may call itself with another key; with its own it is refused and not stuck', async () => {
    await using app = await start();
    const days = app.get(Days);
    expect([await days.down(3), ran]).toEqual([6, 4]);
    expect([await days.down(3), await days.down(2), ran]).toEqual([6, 3, 4]);
    expect(await codeOf(days.loop(1))).toBe('in-progress');
  });

  it('without a value for its key it is refused, or runs unprotected where none is required', async () => {
    await using app = await start();
    const days = app.get(Days);
    await expect(days.close(undefined as never)).rejects.toThrow(/Idempotency-Key is missing.*\{args\.0\}/);
    expect([
      await days.optional(),
      await days.optional(),
      await days.optional('x'),
      await days.optional('x'),
    ]).toEqual([1, 2, 3, 3]);
  });

  it('that reads the header cannot be called without a request', async () => {
    await using app = await start();
    await expect(async () => app.get(Days).byHeader()).rejects.toThrow(
      /@Idempotent on Days\.byHeader was called as a method.*@Idempotent\('byHeader:\{args\.0\}'\)/,
    );
    expect(ran).toBe(0);
  });

  it('made by hand is refused with what to do about it', async () => {
    const call = () => new Days().close('mon');
    expect(call).toThrow(IdempotencyOptionsError);
    expect(call).toThrow(/@Idempotent on Days\.close: no IdempotencyModule manages this object.*forRoot/s);
    expect(ran).toBe(0);
  });

  it('that is given a web of objects says how to make a fingerprint', async () => {
    await using app = await start();
    let web: object = {};
    for (let i = 0; i < 60; i++) web = { left: web, right: web };
    await expect(app.get(Days).web('mon', web)).rejects.toThrow(/fingerprint: \(\{ args \}\)/);
    expect(ran).toBe(0);
  });

  it.each([
    ['an instance', { provide: 'DAYS', useValue: new Days() }],
    ['a factory', { provide: 'DAYS', useFactory: () => new Days() }],
    ['an asynchronous factory', { provide: 'DAYS', useFactory: async () => new Days() }],
    ['a class under another token', { provide: 'DAYS', useClass: Days }],
  ])('works on a provider made by %s', async (_name, provider) => {
    await using app = await start([provider]);
    const days = app.get<Days>('DAYS');
    await days.close('mon');
    await days.close('mon');
    expect(ran).toBe(1);
  });

  it('works under an alias, which is the same object', async () => {
    await using app = await start([Days, { provide: 'DAYS', useExisting: Days }]);
    await app.get(Days).close('mon');
    await app.get<Days>('DAYS').close('mon');
    expect(ran).toBe(1);
  });

  it('works on a subclass, whose keys are its own', async () => {
    @Injectable()
    class LongDays extends Days {}
    await using app = await start([Days, LongDays]);
    await app.get(Days).close('mon');
    await app.get(LongDays).close('mon');
    await app.get(LongDays).close('mon');
    expect(ran).toBe(2);
  });

  it('works on an overridden method that calls the one it overrides', async () => {
    @Injectable()
    class LongDays extends Days {
      @Idempotent('long:{args.0}') override async close(day: string): Promise<unknown> {
        return { long: await super.close(day) };
      }
    }
    await using app = await start([LongDays]);
    const days = app.get(LongDays);
    expect([await days.close('mon'), await days.close('mon')]).toEqual([
      { long: { day: 'mon', ran: 1 } },
      { long: { day: 'mon', ran: 1 } },
    ]);
  });

  it('works on a transient provider', async () => {
    @Injectable({ scope: Scope.TRANSIENT })
    class Transient {
      @Idempotent('t:{args.0}') async run(_day: string) {
        return ++ran;
      }
    }
    @Injectable()
    class User {
      constructor(@Inject(Transient) readonly transient: Transient) {}
    }
    await using app = await start([Transient, User]);
    const { transient } = app.get(User);
    expect([await transient.run('mon'), await transient.run('mon')]).toEqual([1, 1]);
    const other = await app.resolve(Transient);
    expect(await other.run('mon')).toBe(1);
  });

  it('works on a provider made per request', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class PerRequest {
      constructor(@Inject(REQUEST) private readonly request: { id: number }) {}
      @Idempotent('r:{args.0}') async run(_day: string) {
        return { ran: ++ran, request: this.request.id };
      }
    }
    await using app = await start([PerRequest]);
    const make = async (id: number) => {
      const contextId = ContextIdFactory.create();
      app.registerRequestByContextId({ id }, contextId);
      return app.resolve(PerRequest, contextId);
    };
    expect([await (await make(1)).run('mon'), await (await make(2)).run('mon')]).toEqual([
      { ran: 1, request: 1 },
      { ran: 1, request: 1 },
    ]);
  });
});

@Injectable()
class Bank {
  @Idempotent('pay:{args.0}') async pay(orderId: string, amount: number): Promise<unknown> {
    if (amount < 0) throw new BadRequestException('negative');
    if (amount === 13) throw new InternalServerErrorException();
    return { orderId, nth: ++ran };
  }
  @Idempotent('slow:{args.0}') async slow(_orderId: string): Promise<void> {
    entered.open();
    await leave.opened;
  }
}

@Controller()
class Refunds {
  constructor(@Inject(Bank) private readonly bank: Bank) {}

  @Post('refund') @Idempotent() async refund() {
    return { paid: await this.bank.pay('o-1', 5), key: IdempotencyContext.current()!.key };
  }
  @Post('unmarked') async unmarked() {
    return this.bank.pay('o-2', 5);
  }
  @Post('slow') @Idempotent() async slow() {
    await this.bank.slow('o-3');
  }
  @Post('missing') @Idempotent() async missing() {
    await this.bank.pay(undefined as never, 1);
  }
  @Post('forbidden') @Idempotent() forbidden() {
    throw new ForbiddenException();
  }
  @Post('not-found') @Idempotent('order:{body.id}') notFound() {
    throw new NotFoundException();
  }
}

describe.each(PLATFORMS)('a method called in a handler, %s', (platform) => {
  const startWeb = () => startApp({ platform, controllers: [Refunds], providers: [Bank] });

  it('has its own key: another request finds the work done', async () => {
    await using app = await startWeb();
    expect((await app.post('/refund', 'k1', {})).json).toEqual({
      paid: { orderId: 'o-1', nth: 1 },
      key: 'k1',
    });
    expect((await app.post('/refund', 'k2', {})).json).toEqual({
      paid: { orderId: 'o-1', nth: 1 },
      key: 'k2',
    });
    expect((await app.post('/unmarked', null, {})).json).toEqual({ orderId: 'o-2', nth: 2 });
    expect((await app.post('/unmarked', null, {})).json).toEqual({ orderId: 'o-2', nth: 2 });
  });

  it('refused there, the refusal is the answer and the key of the request stays free', async () => {
    await using app = await startWeb();
    const first = app.post('/slow', 'k1', {});
    await entered.opened;
    const refused = await app.post('/slow', 'k2', {});
    expectProblem(refused, 409, 'in-progress');
    leave.open();
    expect((await first).status).toBe(201);
    expect((await app.post('/slow', 'k2', {})).status).toBe(201);
  });
});

describe('IdempotencyService.run', () => {
  const request = { scope: 'close', key: 'mon' };

  it('runs once per scope, principal and key', async () => {
    await using app = await start();
    const service = app.get(IdempotencyService);
    const work = () => ({ at: new Date(ran), ran: ++ran });
    const first = await service.run(request, work);
    expect(first).toEqual({ value: { at: new Date(0), ran: 1 }, replayed: false, attempt: 1 });
    expect(await service.run(request, work)).toEqual({ ...first, replayed: true });
    expect((await service.run({ ...request, key: 'tue' }, work)).value.ran).toBe(2);
    expect((await service.run({ ...request, scope: 'open' }, work)).value.ran).toBe(3);
    expect((await service.run({ ...request, principal: 'alice' }, work)).value.ran).toBe(4);
    expect((await service.run({ ...request, principal: 'bob' }, work)).value.ran).toBe(5);
    expect((await service.run({ ...request, principal: 'alice' }, work)).replayed).toBe(true);
  });

  it('refuses another payload and a duplicate of a running one, and takes options', async () => {
    await using app = await start();
    const service = app.get(IdempotencyService);
    const slow = async () => {
      ran++;
      entered.open();
      await leave.opened;
      return 'done';
    };
    const first = service.run({ ...request, payload: { a: 1, b: 2 } }, slow);
    await entered.opened;
    expect(await codeOf(service.run({ ...request, payload: { a: 2 } }, slow))).toBe('key-reused');
    expect(await codeOf(service.run({ ...request, payload: { b: 2, a: 1 } }, slow))).toBe('in-progress');
    const waiting = service.run({ ...request, payload: { b: 2, a: 1 }, onConflict: 'wait' }, slow);
    leave.open();
    expect([(await first).value, (await waiting).value, ran]).toEqual(['done', 'done', 1]);
  });

  it('frees the key after an error and counts the attempts', async () => {
    await using app = await start();
    const service = app.get(IdempotencyService);
    const work = ({ attempt }: IdempotencyContext) => {
      if (attempt < 3) throw new Error(`attempt ${attempt}`);
      return of(attempt);
    };
    await expect(service.run(request, work)).rejects.toThrow('attempt 1');
    await expect(service.run(request, work)).rejects.toThrow('attempt 2');
    expect(await service.run(request, work)).toEqual({ value: 3, replayed: false, attempt: 3 });
    expect(await service.run(request, work)).toEqual({ value: 3, replayed: true, attempt: 3 });
  });

  it('G43 refuses keys as the header does', async () => {
    await using app = await start();
    const service = app.get(IdempotencyService);
    for (const key of ['', 'x'.repeat(256), 'a\nb', '\ud800']) {
      expect(await codeOf(service.run({ scope: 's', key }, () => 1))).toBe('key-invalid');
    }
  });

  it('G83 refuses wrong options, naming the call', async () => {
    await using app = await start();
    const wrong = app.get(IdempotencyService).run({ ...request, leaseMs: 5 }, () => 1);
    await expect(wrong).rejects.toThrow(/IdempotencyService\.run of close: leaseMs is 5; it must be/);
  });

  it('find gives the record of a key, for the same principal as run', async () => {
    await using app = await start([], { principal: ({ scope }) => `owner of ${scope}` });
    const service = app.get(IdempotencyService);
    expect(await service.find(request)).toBeNull();
    await service.run(request, () => 'done');
    expect(await service.find(request)).toMatchObject({
      state: 'completed',
      scope: 'close',
      key: 'mon',
      attempt: 1,
    });
    expect(await service.find({ ...request, principal: 'somebody else' })).toBeNull();
    expect([service.running, service.counters.claims]).toEqual([0, 1]);
  });
});
