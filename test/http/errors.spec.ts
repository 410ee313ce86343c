import {
  BadRequestException,
  Body,
  type CallHandler,
  type CanActivate,
  Controller,
  type ExecutionContext,
  ForbiddenException,
  HttpException,
  type INestApplication,
  Injectable,
  type NestInterceptor,
  Param,
  ParseIntPipe,
  Post,
  UseGuards,
  UseInterceptors,
  ValidationPipe,
} from '@nestjs/common';
import { IsInt, Min } from 'class-validator';
import { type IdempotentCall, Idempotent, IdempotencyContext, IdempotencyCtx } from 'nestjs-idempotent';
import { type Observable, of } from 'rxjs';
import {
  expectProblem,
  expectReplayOf,
  MemoryLogger,
  PLATFORMS,
  startApp,
  type TestApp,
} from '../support/http-app.js';

let ran = 0;
let isAllowed = true;
let isReady = true;
let calls: [unknown, IdempotentCall][] = [];

beforeEach(() => {
  ran = 0;
  isAllowed = true;
  isReady = true;
  calls = [];
});

class RefundDto {
  @IsInt() @Min(1) amount!: number;
}

@Injectable()
class MayRefund implements CanActivate {
  canActivate(): boolean {
    if (!isAllowed) throw new ForbiddenException('not any more');
    return true;
  }
}

@Injectable()
class Ready implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    if (!isReady) throw new BadRequestException('not ready');
    return next.handle();
  }
}

@Injectable()
class Cached implements NestInterceptor {
  intercept(): Observable<unknown> {
    return of({ cached: true });
  }
}

class CardDeclined extends Error {}

@Controller()
class Refunds {
  @Post('validated') @Idempotent() validated(@Body() { amount }: RefundDto) {
    return { ran: ++ran, amount };
  }
  @Post('orders/:id') @Idempotent() ofOrder(@Param('id', ParseIntPipe) id: number) {
    return { ran: ++ran, id };
  }
  @Post('guarded') @UseGuards(MayRefund) @Idempotent() guarded() {
    return { ran: ++ran };
  }
  @Post('ready') @UseInterceptors(Ready) @Idempotent() ready(
    @IdempotencyCtx() { attempt }: IdempotencyContext,
  ) {
    if (++ran === 1) throw new Error('first attempt');
    return { ran, attempt };
  }
  @Post('cached') @UseInterceptors(Cached) @Idempotent() cached() {
    return { ran: ++ran };
  }
  @Post('throws') @Idempotent() throws(@Body() { status }: { status: number }) {
    throw new HttpException({ ran: ++ran, status }, status);
  }
  @Post('throws-other') @Idempotent() throwsOther() {
    ran++;
    throw new CardDeclined('declined');
  }
  @Post('throws-nothing') @Idempotent() throwsNothing() {
    ran++;
    throw undefined;
  }
  @Post('always-release') @Idempotent({ onError: 'release' }) alwaysRelease() {
    throw new BadRequestException(String(++ran));
  }
  @Post('always-replay') @Idempotent({ onError: 'replay' }) alwaysReplay(
    @Body() { status }: { status: number },
  ) {
    throw new HttpException({ ran: ++ran }, status);
  }
  @Post('always-uncertain') @Idempotent({ onError: 'uncertain' }) alwaysUncertain() {
    throw new BadRequestException(String(++ran));
  }
  @Post('decided')
  @Idempotent({
    onError: (error, call) => {
      calls.push([error, call]);
      return error instanceof CardDeclined ? 'replay' : 'release';
    },
  })
  decided(@Body() { declined }: { declined: boolean }) {
    ran++;
    throw declined ? new CardDeclined('declined') : new BadRequestException();
  }
  @Post('undecided')
  @Idempotent({
    onError: () => {
      throw new Error('the hook is broken');
    },
  })
  undecided() {
    ran++;
    throw new BadRequestException();
  }
  @Post('asynchronous')
  @Idempotent({ onError: (() => Promise.reject(new Error('no'))) as never })
  asynchronous() {
    ran++;
    throw new BadRequestException();
  }
  @Post('nonsense') @Idempotent({ onError: (() => 'whatever') as never }) nonsense() {
    ran++;
    throw new BadRequestException();
  }
}

const validating = (app: INestApplication) =>
  void app.useGlobalPipes(new ValidationPipe({ transform: true }));

describe.each(PLATFORMS)('%s', (platform) => {
  let app: TestApp;
  const logger = new MemoryLogger();

  beforeAll(async () => {
    app = await startApp({ platform, controllers: [Refunds], setup: validating, logger });
  });
  afterAll(() => app.close());

  describe('G30', () => {
    it('a body refused by validation does not burn the key: the corrected one runs', async () => {
      const refused = await app.post('/validated', 'fix', { amount: -1 });
      expect([refused.status, refused.json.message]).toEqual([400, ['amount must not be less than 1']]);
      expect((await app.post('/validated', 'fix', { amount: 'x' })).status).toBe(400);
      const first = await app.post('/validated', 'fix', { amount: 5 });
      expect([first.status, first.json]).toEqual([201, { ran: 1, amount: 5 }]);
      expectReplayOf(first, await app.post('/validated', 'fix', { amount: 5 }));
      expectProblem(await app.post('/validated', 'fix', { amount: -1 }), 422, 'key-reused');
    });

    it('a parameter refused by its pipe does not burn the key', async () => {
      expect((await app.post('/orders/x', 'pipe', {})).status).toBe(400);
      const first = await app.post('/orders/7', 'pipe', {});
      expect([first.status, first.json]).toEqual([201, { ran: 1, id: 7 }]);
    });

    it('an inner interceptor that refuses does not burn the key, on no attempt', async () => {
      isReady = false;
      expect((await app.post('/ready', 'ready', {})).status).toBe(400);
      isReady = true;
      expect((await app.post('/ready', 'ready', { other: 1 })).status).toBe(500);
      isReady = false;
      expect((await app.post('/ready', 'ready', { other: 1 })).status).toBe(400);
      isReady = true;
      const last = await app.post('/ready', 'ready', { other: 1 });
      expect([last.status, last.json]).toEqual([201, { ran: 2, attempt: 3 }]);
      expectReplayOf(last, await app.post('/ready', 'ready', { other: 1 }));
    });

    it('an inner interceptor that answers itself leaves the key free', async () => {
      const first = await app.post('/cached', 'cached', {});
      const second = await app.post('/cached', 'cached', { other: 1 });
      expect([first.json, second.json, second.status]).toEqual([{ cached: true }, { cached: true }, 201]);
      expect(second.headers.get('idempotent-replayed')).toBeNull();
      expect(ran).toBe(0);
    });
  });

  describe('G31', () => {
    it.each([400, 402, 404, 405, 406, 410, 411, 412, 413, 415, 418, 422, 424, 426, 428, 431, 451])(
      '%i thrown by the handler is replayed',
      async (status) => {
        const first = await app.post('/throws', `s${status}`, { status });
        expect([first.status, first.json]).toEqual([status, { ran: 1, status }]);
        expectReplayOf(first, await app.post('/throws', `s${status}`, { status }));
        expect(ran).toBe(1);
      },
    );

    it.each([401, 403, 408, 409, 423, 425, 429, 500, 501, 502, 503, 504])(
      '%i thrown by the handler frees the key, for the same payload',
      async (status) => {
        expect((await app.post('/throws', `s${status}`, { status })).json).toEqual({ ran: 1, status });
        const second = await app.post('/throws', `s${status}`, { status });
        expect([second.status, second.json]).toEqual([status, { ran: 2, status }]);
        expect(second.headers.get('idempotent-replayed')).toBeNull();
        expectProblem(await app.post('/throws', `s${status}`, { status: 200 }), 422, 'key-reused');
      },
    );

    it.each(['throws-other', 'throws-nothing'])('%s frees the key', async (path) => {
      expect((await app.post(`/${path}`, path, {})).status).toBe(500);
      expect((await app.post(`/${path}`, path, {})).status).toBe(500);
      expect(ran).toBe(2);
    });

    it("onError 'release' frees the key whatever the error", async () => {
      expect((await app.post('/always-release', 'k', {})).json.message).toBe('1');
      expect((await app.post('/always-release', 'k', {})).json.message).toBe('2');
    });

    it.each([400, 409, 423, 500, 503])("onError 'replay' keeps a %i", async (status) => {
      const first = await app.post('/always-replay', `r${status}`, { status });
      expect([first.status, first.json]).toEqual([status, { ran: 1 }]);
      expectReplayOf(first, await app.post('/always-replay', `r${status}`, { status }));
    });

    it.each([401, 403, 408, 425, 429])("not even onError 'replay' keeps a %i", async (status) => {
      await app.post('/always-replay', `r${status}`, { status });
      expect((await app.post('/always-replay', `r${status}`, { status })).json).toEqual({ ran: 2 });
    });

    it("onError 'uncertain' refuses until somebody resolves it", async () => {
      expect((await app.post('/always-uncertain', 'k', {})).json.message).toBe('1');
      expectProblem(await app.post('/always-uncertain', 'k', {}), 409, 'outcome-uncertain');
      expect(ran).toBe(1);
    });

    it('onError as a function sees the error and the call', async () => {
      const first = await app.post('/decided', 'd1', { declined: true });
      expectReplayOf(first, await app.post('/decided', 'd1', { declined: true }));
      await app.post('/decided', 'd2', { declined: false });
      await app.post('/decided', 'd2', { declined: false });
      expect(ran).toBe(3);
      expect(calls[0]![0]).toBeInstanceOf(CardDeclined);
      expect(calls[0]![1]).toMatchObject({
        transport: 'http',
        scope: 'Refunds.decided',
        body: { declined: true },
      });
      expect(calls).toHaveLength(3);
    });

    it.each(['undecided', 'nonsense', 'asynchronous'])(
      'onError that is %s decides nothing: uncertain, and logged',
      async (path) => {
        logger.lines.length = 0;
        expect((await app.post(`/${path}`, path, {})).status).toBe(400);
        expectProblem(await app.post(`/${path}`, path, {}), 409, 'outcome-uncertain');
        expect(ran).toBe(1);
        expect(logger.lines).toContainEqual(
          expect.stringMatching(new RegExp(`^error onError of Refunds\\.${path} `)),
        );
      },
    );
  });

  it('G32 guards run before a replay', async () => {
    const first = await app.post('/guarded', 'g', {});
    expectReplayOf(first, await app.post('/guarded', 'g', {}));
    isAllowed = false;
    const refused = await app.post('/guarded', 'g', {});
    expect([refused.status, refused.json.message, refused.headers.get('idempotent-replayed')]).toEqual([
      403,
      'not any more',
      null,
    ]);
    isAllowed = true;
    expectReplayOf(first, await app.post('/guarded', 'g', {}));
    expect(ran).toBe(1);
  });
});
