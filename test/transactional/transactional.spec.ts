import { randomUUID } from 'node:crypto';
import {
  type CallHandler,
  ConflictException,
  type ExecutionContext,
  HttpException,
  Injectable,
  NotFoundException,
} from '@nestjs/common';
import { Idempotent, IdempotencyContext, IdempotencyService } from 'nestjs-idempotent';
import { from, map, type Observable, of, race, switchMap, timer } from 'rxjs';
import { type Flavour, MARIADB, POSTGRES, SQLITE } from '../stores/typeorm-flavours.js';
import { eventually, expectProblem, expectReplayOf, Gate, PLATFORMS } from '../support/http-app.js';
import { Bank, pay, type Work } from './transactional-app.js';

const DATABASES = [POSTGRES, MARIADB, SQLITE];

let key: string;
let bank: Bank;
beforeEach(() => (key = `k-${randomUUID()}`));

function on(flavours: readonly Flavour[], name: string, define: (flavour: Flavour) => void): void {
  describe.each(flavours)(`${name}: $name`, (flavour) => {
    beforeAll(async () => (bank = await Bank.open(flavour)));
    afterAll(() => bank.close());
    define(flavour);
  });
}

on(DATABASES, 'transactional', () => {
  it.each(PLATFORMS)('G52 the writes and the answer are there together: %s', async (platform) => {
    const wrote = new Gate();
    const goOn = new Gate();
    const work: Work = async (ctx) => {
      await pay(ctx, 'a');
      await IdempotencyContext.current()!.manager.query(
        `INSERT INTO ledger (account, payer) VALUES ('${key}', 'b')`,
      );
      wrote.open();
      await goOn.opened;
      return { attempt: ctx.attempt, isTransactional: ctx.isTransactional };
    };
    const app = await bank.app(work, {}, { platform });
    const first = app.post('/pay', key, {});
    await wrote.opened;
    expect(await bank.payers(key)).toEqual([]);
    expectProblem(await app.post('/pay', key, {}), 409, 'in-progress');
    goOn.open();
    const answer = await first;
    expect(answer).toMatchObject({ status: 201, json: { attempt: 1, isTransactional: true } });
    expect(await bank.payers(key)).toEqual(['a', 'b']);
    expectReplayOf(answer, await app.post('/pay', key, {}));
    expect(await bank.payers(key)).toEqual(['a', 'b']);
  });

  it('an error that is thrown rolls back, and frees the key or is the answer', async () => {
    const errors: unknown[] = [new Error('crash'), new NotFoundException('nobody'), undefined];
    const app = await bank.app(async (ctx) => {
      await pay(ctx, `by ${ctx.attempt}`);
      const error = errors.shift();
      if (error) throw error as Error;
      return 'paid';
    });
    expect((await app.post('/pay', key, {})).status).toBe(500);
    expect(await bank.payers(key)).toEqual([]);
    const lasting = await app.post('/pay', key, {});
    expect(lasting.status).toBe(404);
    expectReplayOf(lasting, await app.post('/pay', key, {}));
    expect(await bank.payers(key)).toEqual([]);
    key += '2';
    expect((await app.post('/pay', key, {})).status).toBe(201);
    expect(await bank.payers(key)).toEqual(['by 1']);
  });

  it('G15 a late owner rolls back, and answers what its successor left', async () => {
    const lost = new Gate();
    const goOn = new Gate();
    const late = await bank.app(
      async (ctx) => {
        await pay(ctx, 'late');
        ctx.signal.addEventListener('abort', lost.open);
        await goOn.opened;
        return 'late';
      },
      { leaseMs: 150, maxHoldMs: 150 },
    );
    const next = await bank.app(async (ctx) => {
      await pay(ctx, 'next');
      return `next, attempt ${ctx.attempt}`;
    });
    const first = late.post('/pay', key, {});
    await lost.opened;
    const second = await eventually(async () => {
      const answer = await next.post('/pay', key, {});
      expect(answer.status).toBe(201);
      return answer;
    });
    goOn.open();
    expect(await first).toMatchObject({ status: 201, text: 'next, attempt 2' });
    expect(second.text).toBe('next, attempt 2');
    expect(await bank.payers(key)).toEqual(['next']);
  });

  it('G16 a handler that hangs holds no transaction once its key is lost, and writes nothing any more', async () => {
    const lost = new Gate();
    const goOn = new Gate();
    let late: unknown;
    const app = await bank.app(
      async (ctx) => {
        if (ctx.attempt > 1) return pay(ctx, 'second');
        await pay(ctx, 'first');
        ctx.signal.addEventListener('abort', lost.open);
        await goOn.opened;
        late = await pay(ctx, 'too late').catch((error: unknown) => error);
        return 'hung';
      },
      { leaseMs: 150, maxHoldMs: 150 },
    );
    const first = app.post('/pay', key, {});
    await lost.opened;
    // In SQLite only once the transaction is gone.
    await eventually(() =>
      bank.witness.query(`INSERT INTO ledger (account, payer) VALUES ('${key}', 'between')`),
    );
    goOn.open();
    expectProblem(await first, 409, 'lease-lost');
    expect(String(late)).toContain('The transaction of this idempotent call is over');
    expect((await app.post('/pay', key, {})).status).toBe(201);
    expect(await bank.payers(key)).toEqual(['between', 'second']);
  });

  it('G23 what fails after the handler, on the way to the wire, rolls back as well', async () => {
    let isBroken = true;
    const broken = {
      intercept: (_context: ExecutionContext, next: CallHandler) => next.handle().pipe(map(check)),
    };
    const check = (value: unknown) => {
      if (isBroken) throw new Error('not serializable');
      return value;
    };
    const app = await bank.app(
      async (ctx) => {
        await pay(ctx);
        return { paid: ctx.attempt };
      },
      {},
      { setup: (made) => void made.useGlobalInterceptors(broken) },
    );
    expect((await app.post('/pay', key, {})).status).toBe(500);
    expect(await bank.payers(key)).toEqual([]);
    isBroken = false;
    expect(await app.post('/pay', key, {})).toMatchObject({ status: 201, json: { paid: 2 } });
    expect(await bank.payers(key)).toEqual(['p']);
  });

  it('G24 an outer time-out answers; the handler goes on, and its end is committed and replayed', async () => {
    const goOn = new Gate();
    const timeOut = {
      intercept: (_context: ExecutionContext, next: CallHandler): Observable<unknown> =>
        race(
          next.handle(),
          timer(50).pipe(switchMap(() => from(Promise.reject(new HttpException('slow', 504))))),
        ),
    };
    const app = await bank.app(
      async (ctx) => {
        await pay(ctx);
        await goOn.opened;
        return { paid: true };
      },
      {},
      { setup: (made) => void made.useGlobalInterceptors(timeOut) },
    );
    expect((await app.post('/pay', key, {})).status).toBe(504);
    expect(await bank.payers(key)).toEqual([]);
    goOn.open();
    await eventually(async () => expect(await bank.payers(key)).toEqual(['p']));
    const replay = await eventually(async () => {
      const answer = await app.post('/pay', key, {});
      expect(answer.status).toBe(201);
      return answer;
    });
    expect(replay.json).toEqual({ paid: true });
    expect(await bank.payers(key)).toEqual(['p']);
  });

  it('G20 a client that goes away changes nothing', async () => {
    const wrote = new Gate();
    const goOn = new Gate();
    const app = await bank.app(async (ctx) => {
      await pay(ctx);
      wrote.open();
      await goOn.opened;
      return 'paid';
    });
    const leaving = new AbortController();
    const headers = { 'idempotency-key': key };
    const first = app.send('/pay', { method: 'POST', headers, body: {}, signal: leaving.signal });
    await wrote.opened;
    leaving.abort();
    await expect(first).rejects.toThrow();
    goOn.open();
    await eventually(async () => expect(await bank.payers(key)).toEqual(['p']));
    expect((await app.post('/pay', key, {})).text).toBe('paid');
  });

  it('transactions inside of it are savepoints, and the end of it is not the handler’s', async () => {
    const app = await bank.app(async (ctx) => {
      await pay(ctx, 'outer');
      const inner = ctx.manager.transaction(async (manager) => {
        await manager.query(`INSERT INTO ledger (account, payer) VALUES ('${ctx.key}', 'inner')`);
        throw new Error('inner');
      });
      await expect(inner).rejects.toThrow('inner');
      await ctx.manager.transaction((manager) =>
        manager.query(`INSERT INTO ledger (account, payer) VALUES ('${ctx.key}', 'saved')`),
      );
      const ends = ctx.manager.queryRunner!.commitTransaction();
      await expect(ends).rejects.toThrow('the transaction of an idempotent call ends with the call');
      await ctx.manager.queryRunner!.release();
      await pay(ctx, 'last');
      return 'paid';
    });
    expect((await app.post('/pay', key, {})).text).toBe('paid');
    expect(await bank.payers(key)).toEqual(['last', 'outer', 'saved']);
  });

  it('an observable of several values: one transaction up to its end', async () => {
    const app = await bank.app((ctx) =>
      of('a', 'b').pipe(
        switchMap(async (payer) => {
          await pay(ctx, payer);
          return payer;
        }),
      ),
    );
    const answer = await app.post('/pay', key, {});
    expect(answer.status).toBe(201);
    expectReplayOf(answer, await app.post('/pay', key, {}));
    expect(await bank.payers(key)).toContain('b');
  });

  it('a call without a key has its transaction, too', async () => {
    const fails = [true, false];
    const app = await bank.app(async (ctx) => {
      await ctx.manager.query(`INSERT INTO ledger (account, payer) VALUES ('${key}', 'p')`);
      if (fails.shift()) throw new ConflictException();
      return { isProtected: ctx.isProtected };
    });
    expect((await app.post('/optional', null, {})).status).toBe(409);
    expect((await app.post('/optional', null, {})).json).toEqual({ isProtected: false });
    expect(await bank.payers(key)).toEqual(['p']);
  });

  it('IdempotencyService.run', async () => {
    const app = await bank.app(() => undefined);
    const service = app.app.get(IdempotencyService);
    const call = { scope: 'service', key };
    const failing = service.run(call, async (ctx) => {
      await pay(ctx, 'first');
      throw new Error('crash');
    });
    await expect(failing).rejects.toThrow('crash');
    const work = async (ctx: IdempotencyContext) => {
      await pay(ctx, 'second');
      return 7n;
    };
    expect(await service.run(call, work)).toEqual({ value: 7n, replayed: false, attempt: 2 });
    expect(await service.run(call, work)).toEqual({ value: 7n, replayed: true, attempt: 2 });
    expect(await bank.payers(key)).toEqual(['second']);
  });

  it('a method of a provider, which no request leads to', async () => {
    const errors: (Error | undefined)[] = [new Error('crash'), undefined, new NotFoundException('nobody')];
    const wrote = new Gate();
    const goOn = new Gate();
    @Injectable()
    class Payouts {
      @Idempotent('{args.0}')
      async pay(_account: string) {
        const ctx = IdempotencyContext.current()!;
        await pay(ctx, `by ${ctx.attempt}`);
        const error = errors.shift();
        if (error) throw error;
        wrote.open();
        await goOn.opened;
        return { attempt: ctx.attempt };
      }
    }
    const { app } = await bank.app(() => undefined, {}, { providers: [Payouts] });
    const payouts = app.get(Payouts);
    await expect(payouts.pay(key)).rejects.toThrow('crash');
    const running = payouts.pay(key);
    await wrote.opened;
    expect(await bank.payers(key)).toEqual([]);
    await expect(payouts.pay(key)).rejects.toMatchObject({ code: 'in-progress' });
    goOn.open();
    expect([await running, await payouts.pay(key)]).toEqual([{ attempt: 2 }, { attempt: 2 }]);
    expect(await bank.payers(key)).toEqual(['by 2']);
    key += '2';
    for (const _ of ['the first', 'a replay']) await expect(payouts.pay(key)).rejects.toThrow('nobody');
    expect([await bank.payers(key), errors]).toEqual([[], []]);
  });

  it('20 at once, each with a transaction of its own', async () => {
    const app = await bank.app(async (ctx) => {
      await pay(ctx);
      return ctx.key;
    });
    const keys = Array.from({ length: 20 }, (_, n) => `${key}-${n}`);
    const answers = await Promise.all([...keys, ...keys].map((each) => app.post('/pay', each, {})));
    expect(answers.filter(({ status }) => status === 201).length).toBeGreaterThanOrEqual(20);
    for (const each of keys) expect(await bank.payers(each)).toEqual(['p']);
  });

  it('ctx.manager where there is no transaction names the fix', async () => {
    const app = await bank.app((ctx) => ctx.manager, { transactional: false });
    const service = app.app.get(IdempotencyService);
    await expect(service.run({ scope: 's', key }, (ctx) => ctx.manager)).rejects.toThrow(
      'set transactional: true, or use ctx.transaction(name, work)',
    );
  });
});
