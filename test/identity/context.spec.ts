import {
  type ArgumentMetadata,
  Body,
  type CallHandler,
  type CanActivate,
  Controller,
  type ExecutionContext,
  Inject,
  Injectable,
  type NestInterceptor,
  Post,
  type PipeTransform,
  ServiceUnavailableException,
  UseGuards,
  UseInterceptors,
  UsePipes,
} from '@nestjs/common';
import { Idempotent, IdempotencyContext, IdempotencyCtx, IdempotencyError } from 'nestjs-idempotent';
import type { Observable } from 'rxjs';
import { recordId } from '../../lib/identity/identity.js';
import { expectProblem, Gate, PLATFORMS, startApp } from '../support/http-app.js';

/** SHA-256 of `nestjs-idempotent/1|14:Refunds.refund|5:alice|2:k1`, and of that with `|bank`. */
const ID = 'b8ea7726582fd8e276a0141a30bae1583dc9d617f57f33464bc8ad7682cc8950';
const DERIVED = '79a9b0b71e51441d0b9f6f95a258bc8efe6f8f94c914d963084c5c31409d6f03';

let ran = 0;
let seen: Record<string, IdempotencyContext | undefined> = {};

beforeEach(() => {
  ran = 0;
  seen = {};
});

class Guard implements CanActivate {
  canActivate(): boolean {
    seen.guard = IdempotencyContext.current();
    return true;
  }
}

class Pipe implements PipeTransform {
  transform(value: unknown, _metadata: ArgumentMetadata): unknown {
    seen.pipe = IdempotencyContext.current();
    return value;
  }
}

class Interceptor implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    seen.before = IdempotencyContext.current();
    return next.handle();
  }
}

@Injectable()
class Bank {
  async pay(): Promise<void> {
    seen.service = IdempotencyContext.current();
    await new Promise(setImmediate);
    seen.awaited = IdempotencyContext.current();
    await new Promise<void>((resolve) => {
      setTimeout(() => {
        seen.timer = IdempotencyContext.current();
        resolve();
      }, 1);
    });
  }
}

@Controller()
class Refunds {
  constructor(@Inject(Bank) private readonly bank: Bank) {}

  @Post('refund')
  @UseGuards(Guard)
  @UsePipes(Pipe)
  @UseInterceptors(Interceptor)
  @Idempotent()
  async refund(@IdempotencyCtx() context: IdempotencyContext, @Body() _body: unknown) {
    await this.bank.pay();
    seen.parameter = context;
    seen.current = IdempotencyContext.current();
    return context.key;
  }

  @Post('unmarked')
  unmarked(@IdempotencyCtx() context: IdempotencyContext | undefined) {
    return { parameter: context === undefined, current: IdempotencyContext.current() === undefined };
  }

  @Post('attempts')
  @Idempotent()
  attempts(@IdempotencyCtx() context: IdempotencyContext) {
    seen[`attempt ${++ran}`] = context;
    if (ran < 3) throw new ServiceUnavailableException();
    const { key, attempt, fence, signal, isProtected } = context;
    const derived = context.deriveKey('bank');
    return { key, attempt, fence: String(fence), aborted: signal.aborted, isProtected, derived };
  }

  @Post('derive')
  @Idempotent({ required: false })
  derive(@Body() { name }: { name: string }, @IdempotencyCtx() context: IdempotencyContext) {
    return { derived: context.deriveKey(name) };
  }

  @Post('derive-too')
  @Idempotent()
  deriveToo(@Body() { name }: { name: string }, @IdempotencyCtx() context: IdempotencyContext) {
    return { derived: context.deriveKey(name) };
  }

  @Post('losing')
  @Idempotent({ leaseMs: 100, maxHoldMs: 100 })
  async losing(@IdempotencyCtx() context: IdempotencyContext) {
    context.assertHeld();
    const lost = new Gate();
    context.signal.addEventListener('abort', lost.open);
    await lost.opened;
    seen.lost = context;
    context.assertHeld();
  }
}

describe.each(PLATFORMS)('%s', (platform) => {
  const start = () => startApp({ platform, controllers: [Refunds], providers: [Bank] });

  it('the context is there from inner interceptors and pipes on, below the handler, and only there', async () => {
    await using app = await start();
    expect((await app.post('/refund', 'k1', {})).text).toBe('k1');
    const { guard, ...inside } = seen;
    expect(guard).toBeUndefined();
    expect(Object.keys(inside).toSorted()).toEqual(
      ['awaited', 'before', 'current', 'parameter', 'pipe', 'service', 'timer'].toSorted(),
    );
    for (const [where, context] of Object.entries(inside))
      expect([where, context === seen.parameter]).toEqual([where, true]);
    expect(seen.parameter).toBeInstanceOf(IdempotencyContext);
    expect(IdempotencyContext.current()).toBeUndefined();
    expect((await app.post('/unmarked', 'k1', {})).json).toEqual({ parameter: true, current: true });
  });

  it('calls at one time do not see each other', async () => {
    await using app = await start();
    const keys = Array.from({ length: 10 }, (_, i) => `k${i}`);
    const answers = await Promise.all(keys.map((key) => app.post('/refund', key, {})));
    expect(answers.map(({ text }) => text)).toEqual(keys);
  });

  it('G14 attempts count up, fences grow, the key for others stays', async () => {
    await using app = await start();
    await app.post('/attempts', 'k1', {}, { 'x-customer': 'alice' });
    await app.post('/attempts', 'k1', {}, { 'x-customer': 'alice' });
    const { json } = await app.post('/attempts', 'k1', {}, { 'x-customer': 'alice' });
    const contexts = [1, 2, 3].map((nth) => seen[`attempt ${nth}`]!);
    expect(contexts.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
    const [first, second, third] = contexts.map(({ fence }) => fence);
    expect(first! > 0n && first! < second! && second! < third!).toBe(true);
    const [derived, ...others] = contexts.map((context) => context.deriveKey('bank'));
    expect(others).toEqual([derived, derived]);
    expect(json).toEqual({
      key: 'k1',
      attempt: 3,
      fence: String(third),
      aborted: false,
      isProtected: true,
      derived,
    });
  });

  it('a derived key differs by name, key, principal and route, and is fit for any provider', async () => {
    await using app = await start();
    let nth = 0;
    const derive = async (name: string, customer: string, key: string, path = '/derive') =>
      (await app.post(path, key, { name, nth: nth++ }, { 'x-customer': customer })).json.derived as string;
    const keys = [
      await derive('bank', 'alice', 'k1'),
      await derive('mail', 'alice', 'k2'),
      await derive('bank', 'alice', 'k3'),
      await derive('bank', 'bob', 'k1'),
      await derive('bank', 'alice', 'k1', '/derive-too'),
      await derive('', 'alice', 'k4'),
      await derive('bänk 😀', 'alice', 'k5'),
    ];
    expect(new Set(keys).size).toBe(keys.length);
    for (const key of keys) expect(key).toMatch(/^[0-9a-f]{64}$/);
  });

  it('without a key there is nothing to derive from', async () => {
    await using app = await start();
    expect((await app.post('/derive', null, { name: 'bank' })).status).toBe(500);
  });

  it('G12 a lost lease aborts the signal, and assertHeld throws', async () => {
    await using app = await start();
    expectProblem(await app.post('/losing', 'k1', {}), 409, 'lease-lost');
    const context = seen.lost!;
    expect(context.signal.aborted).toBe(true);
    expect(context.signal.reason).toBeInstanceOf(IdempotencyError);
    expect(() => context.assertHeld()).toThrow(IdempotencyError);
  });
});

describe('ids', () => {
  it('stay what they are from version to version', () => {
    expect(recordId('Refunds.refund', 'alice', 'k1')).toBe(ID);
    expect(new IdempotencyContext({ id: ID, key: 'k1' }, null).deriveKey('bank')).toBe(DERIVED);
  });

  it('G43 never run into one another', () => {
    const ids = [
      recordId('a', 'b', 'c'),
      recordId('ab', '', 'c'),
      recordId('a', 'bc', ''),
      recordId('a', '', 'bc'),
      recordId('a', null, 'bc'),
      recordId('a', null, '-|2:bc'),
      recordId('a', '-', 'bc'),
      recordId('a|1:b', 'c', ''),
      recordId('a', 'b|1:c', 'd'),
      recordId('a', 'b', 'c|1:d'),
    ];
    expect(new Set(ids).size).toBe(ids.length);
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{64}$/);
  });
});
