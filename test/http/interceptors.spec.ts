import {
  type CallHandler,
  ClassSerializerInterceptor,
  Controller,
  type ExecutionContext,
  type INestApplication,
  Injectable,
  InternalServerErrorException,
  type NestInterceptor,
  NotFoundException,
  Post,
  RequestTimeoutException,
  Res,
  StreamableFile,
  UseInterceptors,
} from '@nestjs/common';
import { APP_INTERCEPTOR, Reflector } from '@nestjs/core';
import { Exclude } from 'class-transformer';
import { Idempotent } from 'nestjs-idempotent';
import { catchError, map, type Observable, race, retry, switchMap, tap, throwError } from 'rxjs';
import { eventually, expectProblem, expectReplayOf, Gate, PLATFORMS, startApp } from '../support/http-app.js';

let ran = 0;
let entered = new Gate();
let leave = new Gate();
/** Opened: who waits for a time-out waits no longer. */
let timeIsUp = new Gate();
/** What an interceptor saw. */
let seen: unknown[] = [];

beforeEach(() => {
  ran = 0;
  entered = new Gate();
  leave = new Gate();
  timeIsUp = new Gate();
  seen = [];
});

@Injectable()
class Wrapping implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((data) => ({ data })));
  }
}

/** `timeout()` whose time is up when the test says so. */
@Injectable()
class Timeout implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const late = timeIsUp.opened.then(() => {
      throw new RequestTimeoutException();
    });
    late.catch(() => undefined);
    return race(next.handle(), late);
  }
}

@Injectable()
class Watching implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(tap((value) => seen.push(value)));
  }
}

@Injectable()
class Uppercase implements NestInterceptor {
  async intercept(_context: ExecutionContext, next: CallHandler): Promise<Observable<unknown>> {
    await new Promise(setImmediate);
    return next.handle().pipe(
      switchMap(async (value: any) => {
        await new Promise(setImmediate);
        return { ...value, shout: String(value.text).toUpperCase() };
      }),
    );
  }
}

@Injectable()
class Mapping404 implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(catchError(() => throwError(() => new NotFoundException('mapped'))));
  }
}

@Injectable()
class Retrying implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(retry(2));
  }
}

@Injectable()
class Broken implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((value: any) => value.not.there));
  }
}

class Customer {
  @Exclude() readonly password = 'hunter2';
  constructor(readonly id: number) {}
}

async function slowly<T>(value: T): Promise<T> {
  entered.open();
  await leave.opened;
  return value;
}

@Controller()
class Refunds {
  @Post('object') @Idempotent() object() {
    return { id: ++ran, text: 'a' };
  }
  @Post('slow') @Idempotent() slow() {
    return slowly({ id: ++ran, text: 'slow' });
  }
  @Post('slow-inner') @UseInterceptors(Timeout, Watching) @Idempotent() slowInner() {
    return slowly({ id: ++ran, text: 'slow' });
  }
  @Post('slow-instance') @Idempotent() slowInstance() {
    return slowly(new Customer(++ran));
  }
  @Post('slow-file') @Idempotent() slowFile() {
    ran++;
    return slowly(new StreamableFile(Buffer.from('file')));
  }
  @Post('slow-nothing') @Idempotent() async slowNothing() {
    ran++;
    await slowly(undefined);
  }
  @Post('slow-by-hand') @Idempotent() async slowByHand(@Res() response: any) {
    await slowly(++ran);
    response.send({ id: ran });
  }
  @Post('slow-404') @Idempotent() async slow404() {
    await slowly(++ran);
    throw new NotFoundException(`no order ${ran}`);
  }
  @Post('slow-500') @Idempotent() async slow500() {
    await slowly(++ran);
    if (ran === 1) throw new InternalServerErrorException();
    return { id: ran };
  }
  @Post('mapped-error') @UseInterceptors(Mapping404) @Idempotent({ onError: 'replay' }) mappedError() {
    ran++;
    throw new Error('boom');
  }
  @Post('retried') @UseInterceptors(Retrying) @Idempotent() retried() {
    if (++ran < 3) throw new Error('not yet');
    return { id: ran };
  }
  @Post('broken') @UseInterceptors(Broken) @Idempotent() broken() {
    return { id: ++ran };
  }
}

/** Outer: before ours, as a provider of the root module. Inner: after ours, from main.ts. */
const outer = (interceptor: unknown) => ({
  providers: [{ provide: APP_INTERCEPTOR, useClass: interceptor }],
});
const inner = (...interceptors: NestInterceptor[]) => ({
  setup: (app: INestApplication) => void app.useGlobalInterceptors(...interceptors),
});
const controllers = [Refunds];

describe.each(PLATFORMS)('%s', (platform) => {
  it.each([
    ['outer', outer(Wrapping), { data: { id: 1, text: 'a' } }],
    ['inner', inner(new Wrapping()), { data: { id: 1, text: 'a' } }],
    ['outer and asynchronous', outer(Uppercase), { id: 1, text: 'a', shout: 'A' }],
    ['inner and asynchronous', inner(new Uppercase()), { id: 1, text: 'a', shout: 'A' }],
    ['inner, several', inner(new Wrapping(), new Uppercase()), { data: { id: 1, text: 'a', shout: 'A' } }],
  ])(
    'G24 mapping interceptor, %s: on the first answer, and the replay equals it',
    async (_name, where, expected) => {
      await using app = await startApp({ platform, controllers, ...where });
      const first = await app.post('/object', 'k', {});
      expect([first.status, first.json]).toEqual([201, expected]);
      expectReplayOf(first, await app.post('/object', 'k', {}));
      expectReplayOf(first, await app.post('/object', 'k', {}));
      expect(ran).toBe(1);
    },
  );

  it('G24 an outer interceptor that chokes on a replay does not harm it', async () => {
    await using app = await startApp({ platform, controllers, ...outer(Broken) });
    const first = await app.post('/object', 'k', {});
    expect(first.status).toBe(500);
    expectReplayOf(first, await app.post('/object', 'k', {}));
    expect(ran).toBe(1);
  });

  it.each([
    ['outer', '/slow', outer(Timeout)],
    ['inner, global', '/slow', inner(new Timeout())],
    ['inner, of the method', '/slow-inner', {}],
  ])('G24 time-out, %s: 408 for the client, the end is recorded, one run', async (_name, path, where) => {
    await using app = await startApp({ platform, controllers, ...where });
    const first = app.post(path, 'k', {});
    await entered.opened;
    timeIsUp.open();
    expect((await first).status).toBe(408);
    timeIsUp = new Gate();
    expectProblem(await app.post(path, 'k', {}), 409, 'in-progress');
    expectProblem(await app.post(path, 'k', { other: 1 }), 422, 'key-reused');
    leave.open();
    const second = await eventually(async () => {
      const answer = await app.post(path, 'k', {});
      expect([answer.status, answer.json]).toEqual([201, { id: 1, text: 'slow' }]);
      return answer;
    });
    expect(second.headers.get('idempotent-replayed')).toBe('true');
    const third = await app.post(path, 'k', {});
    expect([third.status, third.text, third.headers.get('idempotent-replayed')]).toEqual([
      201,
      second.text,
      'true',
    ]);
    expect(ran).toBe(1);
  });

  it('G24 what is recorded after a time-out is rendered by the interceptors, once', async () => {
    const interceptors = { ...outer(Timeout), ...inner(new Wrapping(), new Watching()) };
    await using app = await startApp({ platform, controllers, ...interceptors });
    const first = app.post('/slow', 'k', {});
    await entered.opened;
    timeIsUp.open();
    expect((await first).status).toBe(408);
    timeIsUp = new Gate();
    leave.open();
    for (let i = 0; i < 3; i++) {
      await eventually(async () => {
        const answer = await app.post('/slow', 'k', {});
        expect([answer.status, answer.text]).toEqual([201, '{"data":{"id":1,"text":"slow"}}']);
      });
    }
    expect(seen).toEqual([{ id: 1, text: 'slow' }]);
    expect(ran).toBe(1);
  });

  it.each(['slow-instance', 'slow-file', 'slow-nothing', 'slow-by-hand'])(
    'G24 after a time-out of %s nothing is replayed that could not be rendered, and nothing runs',
    async (path) => {
      await using app = await startApp({
        platform,
        controllers,
        ...outer(Timeout),
        setup: (nest) => void nest.useGlobalInterceptors(new ClassSerializerInterceptor(nest.get(Reflector))),
      });
      const first = app.post(`/${path}`, 'k', {});
      await entered.opened;
      timeIsUp.open();
      expect((await first).status).toBe(408);
      timeIsUp = new Gate();
      leave.open();
      await eventually(async () => {
        expectProblem(await app.post(`/${path}`, 'k', {}), 409, 'response-not-replayable');
      });
      expect(ran).toBe(1);
    },
  );

  it('G24 an error after a time-out is decided as any other: 4xx replayed, 5xx released', async () => {
    await using app = await startApp({ platform, controllers, ...outer(Timeout) });
    const timedOut = async (path: string) => {
      [entered, leave, timeIsUp] = [new Gate(), new Gate(), new Gate()];
      const first = app.post(path, 'k', {});
      await entered.opened;
      timeIsUp.open();
      expect((await first).status).toBe(408);
      timeIsUp = new Gate();
      leave.open();
    };
    await timedOut('/slow-404');
    await eventually(async () => {
      const replay = await app.post('/slow-404', 'k', {});
      expect([replay.status, replay.json.message]).toEqual([404, 'no order 1']);
    });
    expect(ran).toBe(1);
    ran = 0;
    await timedOut('/slow-500');
    await eventually(async () => {
      const again = await app.post('/slow-500', 'k', {});
      expect([again.status, again.json, again.headers.get('idempotent-replayed')]).toEqual([
        201,
        { id: 2 },
        null,
      ]);
    });
  });

  it('G31 an interceptor that maps the error: its answer is recorded', async () => {
    await using app = await startApp({ platform, controllers });
    const first = await app.post('/mapped-error', 'k', {});
    expect([first.status, first.json.message]).toEqual([404, 'mapped']);
    expectReplayOf(first, await app.post('/mapped-error', 'k', {}));
    expect(ran).toBe(1);
  });

  it('G31 an interceptor that tries again does so within the one call', async () => {
    await using app = await startApp({ platform, controllers });
    const first = await app.post('/retried', 'k', {});
    expect([first.status, first.json]).toEqual([201, { id: 3 }]);
    expectReplayOf(first, await app.post('/retried', 'k', {}));
    expect(ran).toBe(3);
  });

  it('G28 an interceptor that fails after the handler succeeded: never a second run', async () => {
    await using app = await startApp({ platform, controllers });
    const first = await app.post('/broken', 'k', {});
    expect(first.status).toBe(500);
    expectReplayOf(first, await app.post('/broken', 'k', {}));
    expect(ran).toBe(1);
  });
});
