import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Injectable, NotFoundException, Post, Scope } from '@nestjs/common';
import {
  IdempotencyService,
  Idempotent,
  type IdempotencyModuleOptions,
  memoryStore,
  type ResultStore,
} from 'nestjs-idempotent';
import { idempotencyMigrations, typeOrmStore } from 'nestjs-idempotent/stores/typeorm';
import { DataSource } from 'typeorm';
import { storedCall } from '../../lib/idempotency.stored-call.js';
import { fingerprintOf } from '../../lib/identity/fingerprint.js';
import { recordId } from '../../lib/identity/identity.js';
import { STORES } from '../support/backends.js';
import { wrapped } from '../support/fixtures/wrapped.js';
import { eventually, Gate, MemoryLogger, startApp, type TestApp } from '../support/http-app.js';
import { startProcess } from '../support/processes.js';
import { sharedPostgres } from '../support/shared-servers.js';
import { behaviour, Payouts } from './fixtures/payouts.js';

const apps: TestApp[] = [];
let logger: MemoryLogger;

beforeEach(() => {
  logger = new MemoryLogger();
  behaviour.pay = () => 'paid';
});
afterEach(async () => {
  for (const app of apps.splice(0)) await app.close();
});

async function open(
  module: Partial<IdempotencyModuleOptions>,
  providers: unknown[] = [Payouts],
): Promise<TestApp> {
  const app = await startApp({ providers, module: { principal: 'none', ...module }, logger });
  apps.push(app);
  return app;
}

/** What a process leaves that died right after it had kept the call. */
async function abandon(store: ResultStore, id: string, token = randomUUID()): Promise<void> {
  const args = [id];
  const request = {
    ...{ id: idOf(id), scope: 'Payouts.pay', key: `payout:${id}`, fingerprint: fingerprintOf(args) },
    ...{ token, leaseMs: 1, retentionMs: 60_000, takeOrphan: false },
  };
  expect((await store.claim(request)).claimed).toBe(true);
  expect(await store.steps!.record(request.id, token, storedCall('Payouts.pay', args, 1_000))).toBe(true);
}

const idOf = (id: string) => recordId('Payouts.pay', null, `payout:${id}`);

it('G51 what a killed process has begun is finished by another, with the same arguments, from the recorded step on', async () => {
  const url = await sharedPostgres().createDatabase();
  const options = { migrations: idempotencyMigrations, migrationsRun: true };
  await using dataSource = await opened(new DataSource({ type: 'postgres', url, ...options }));
  const paid: unknown[] = [];
  behaviour.pay = (...args) => paid.push(args);
  const child = startProcess(new URL('./fixtures/doomed.ts', import.meta.url), { args: [url] });
  await child.waitForLine(/^paying$/);
  const survivor = await open({ store: typeOrmStore({ dataSource: dataSource.it }) });
  await child.kill('SIGKILL');
  await eventually(() => expect(survivor.counters.completions).toBe(1));
  expect(paid).toEqual([['killed', { cents: 500n, at: new Date(0), tags: new Map([['a', 1]]) }]]);
  const command = { cents: 500n, at: new Date(0), tags: new Map([['a', 1]]) };
  const answer = await survivor.app.get(Payouts).pay('killed', command);
  expect(answer).toMatchObject({
    done: 1,
    attempt: 2,
    drafted: 'draft of attempt 1',
    bankKey: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
  expect(paid).toHaveLength(1);
  expect(survivor.counters).toMatchObject({ completions: 1, claims: 1, replays: 1, givenUp: 0 });
});

async function opened(dataSource: DataSource): Promise<AsyncDisposable & { it: DataSource }> {
  await dataSource.initialize();
  return { it: dataSource, [Symbol.asyncDispose]: () => dataSource.destroy() };
}

describe.each(STORES)('store $name', ({ open: openStore }) => {
  it('G51 of several processes one finishes an abandoned call, and callers get its value', async () => {
    const store = await openStore();
    const ids = [randomUUID(), randomUUID(), randomUUID()];
    const paid: string[] = [];
    behaviour.pay = (id) => paid.push(id);
    for (const id of ids) await abandon(store, id);
    const survivors = await Promise.all([open({ store }), open({ store }), open({ store })]);
    const completions = () => survivors.reduce((sum, { counters }) => sum + counters.completions, 0);
    await eventually(() => expect(completions()).toBe(3));
    expect([...paid].sort()).toEqual([...ids].sort());
    for (const { app } of survivors) {
      for (const id of ids) expect(await app.get(Payouts).pay(id)).toMatchObject({ attempt: 2 });
    }
    expect(paid).toHaveLength(3);
    expect(logger.lines).toEqual([]);
  });
});

describe('G51', () => {
  it('one that fails is tried again, ever later, and at last left to whoever asks', async () => {
    const store = memoryStore();
    const tries: number[] = [];
    behaviour.pay = () => {
      tries.push(performance.now());
      throw new Error('the bank is down');
    };
    await abandon(store, 'a');
    const app = await open({ store });
    await eventually(() => expect(app.counters.givenUp).toBe(1));
    expect(tries).toHaveLength(2);
    // Its claim, and the pause after it.
    expect(tries[1]! - tries[0]!).toBeGreaterThan(500);
    expect(app.counters).toMatchObject({ completions: 0, claims: 2 });
    expect(logger.lines.map((line) => line.replace(/[0-9a-f]{12}/, '…'))).toEqual([
      'warn Payouts.pay (record …) was abandoned, and an attempt to finish it failed: the bank is down',
      'warn Payouts.pay (record …) was abandoned, and an attempt to finish it failed: the bank is down',
      'error Payouts.pay (record …) is left unfinished after 3 attempts: its next caller or an operator has to settle it',
    ]);
    const { records } = await app.app.get(IdempotencyService).list({ state: 'stuck' });
    expect(records).toMatchObject([{ id: idOf('a'), attempt: 3 }]);
    behaviour.pay = () => 'paid';
    expect(await app.app.get(Payouts).pay('a')).toMatchObject({ done: 'paid', attempt: 4 });
  });

  it('a lasting refusal is its answer', async () => {
    const store = memoryStore();
    behaviour.pay = () => {
      throw new NotFoundException('no such order');
    };
    await abandon(store, 'a');
    const app = await open({ store });
    await eventually(async () => expect(await store.find(idOf('a'))).toMatchObject({ state: 'completed' }));
    await expect(app.app.get(Payouts).pay('a')).rejects.toThrow('no such order');
    expect(app.counters.claims).toBe(1);
  });

  it('what is past its deadline, of another method, or was never kept is left alone', async () => {
    @Injectable()
    class Late {
      @Idempotent('late:{args.0}', { scope: 'Payouts.pay', leaseMs: 100, complete: { deadlineMs: 1 } })
      async pay(): Promise<void> {
        throw new Error('not to be called');
      }
    }
    const store = memoryStore();
    await abandon(store, 'late');
    await sleep(5);
    const app = await open({ store }, [Late]);
    await eventually(() => expect(app.counters.givenUp).toBe(1));
    const other = memoryStore();
    await abandon(other, 'a');
    const unkept = {
      id: idOf('b'),
      scope: 'Payouts.pay',
      key: 'payout:b',
      fingerprint: fingerprintOf(['b']),
    };
    await other.claim({ ...unkept, token: 'x', leaseMs: 1, retentionMs: 1_000, takeOrphan: false });
    @Injectable()
    class Namesake {
      @Idempotent('other:{args.0}', { scope: 'Payouts.pay', leaseMs: 50, complete: true })
      async pay(): Promise<void> {
        throw new Error('not to be called');
      }
    }
    const looks = { list: 0 };
    const looked = wrapped<ResultStore>(other, {
      list: (next) => {
        looks.list++;
        return next();
      },
    });
    const second = await open({ store: looked }, [Namesake]);
    await eventually(() => expect(looks.list).toBeGreaterThan(3));
    expect([app.counters.claims, second.counters.claims]).toEqual([0, 0]);
  });

  it('one that is uncertain is finished when its reconcile hook says that it was not done', async () => {
    const paid: string[] = [];
    @Injectable()
    class Careful {
      @Idempotent('payout:{args.0}', {
        ...{ scope: 'Payouts.pay', leaseMs: 100, complete: true, onOrphan: 'uncertain' },
        reconcile: ({ call }) => (call.args[0] === 'done' ? { value: 'found' } : 'retry'),
      })
      async pay(id: string): Promise<string> {
        paid.push(id);
        return 'paid';
      }
    }
    Object.defineProperty(Careful, 'name', { value: 'Payouts' });
    const store = memoryStore();
    for (const id of ['done', 'lost']) await abandon(store, id);
    const app = await open({ store }, [Careful]);
    await eventually(() => expect(app.counters).toMatchObject({ reconciled: 2, completions: 1 }));
    expect(paid).toEqual(['lost']);
    expect(await app.app.get(Careful).pay('done')).toBe('found');
  });

  it('G55 a shutdown starts nothing more, and what is being finished is recorded', async () => {
    const store = memoryStore();
    const [began, gate] = [new Gate(), new Gate()];
    behaviour.pay = async () => {
      began.open();
      await gate.opened;
      return 'paid';
    };
    await abandon(store, 'a');
    const app = await open({ store });
    await began.opened;
    const closed = apps.pop()!.close();
    setTimeout(() => gate.open(), 50);
    await closed;
    expect(await store.find(idOf('a'))).toMatchObject({ state: 'completed', attempt: 2 });
    expect(app.counters.completions).toBe(1);
    await abandon(store, 'b');
    await sleep(800);
    expect(await store.find(idOf('b'))).toMatchObject({ attempt: 1 });
  });

  it.each<[string, unknown, string]>([
    ['a function', () => 1, 'argument 1 holds what structuredClone cannot copy'],
    ['too much', 'x'.repeat(2_000_000), 'more than maxResponseBytes, which is 1048576'],
  ])(
    'a call with %s among its arguments is refused before anything is claimed',
    async (_, argument, message) => {
      const app = await open({});
      const call = app.app.get(Payouts).pay('a', argument as never);
      await expect(call).rejects.toThrow(
        '@Idempotent on Payouts.pay: complete is true, so its arguments are stored, but',
      );
      await expect(call).rejects.toThrow(message);
      expect(app.counters.claims).toBe(0);
      expect(await app.app.get(Payouts).pay('a')).toMatchObject({ attempt: 1 });
    },
  );

  it('a call that cannot be kept is not begun, and its key is free', async () => {
    let isDown = true;
    const store = memoryStore();
    const { steps } = store;
    const record: typeof steps.record = (...given) =>
      isDown ? Promise.reject(new Error('disk full')) : steps.record(...given);
    Object.defineProperty(store, 'steps', { value: { ...steps, record } });
    const app = await open({ store, backendTimeoutMs: 100 });
    behaviour.pay = () => 'paid';
    await expect(app.app.get(Payouts).pay('a')).rejects.toMatchObject({ code: 'unavailable' });
    isDown = false;
    expect(await app.app.get(Payouts).pay('a')).toMatchObject({ done: 'paid', attempt: 1 });
  });
});

describe('G83 complete', () => {
  const started = (providers: unknown[], module = {}, controllers: unknown[] = []) =>
    startApp({ providers, controllers: controllers as never, module: { principal: 'none', ...module } });

  it('is for methods that can be called again from their arguments', async () => {
    @Controller()
    class Handler {
      @Post()
      @Idempotent({ complete: true })
      create(): void {}
    }
    @Injectable({ scope: Scope.REQUEST })
    class PerRequest {
      @Idempotent('a:{args.0}', { complete: true })
      async pay(): Promise<void> {}
    }
    @Injectable()
    class Header {
      @Idempotent({ complete: true })
      async pay(): Promise<void> {}
    }
    @Injectable()
    class Uncertain {
      @Idempotent('a:{args.0}', { complete: true, onOrphan: 'uncertain' })
      async pay(): Promise<void> {}
    }
    @Injectable()
    class Wrong {
      @Idempotent('a:{args.0}', { complete: { attempts: 1 } })
      async pay(): Promise<void> {}
    }
    const cases: [Promise<unknown>, string][] = [
      [
        started([], {}, [Handler]),
        '@Idempotent on Handler.create: complete is true, but the request and the response',
      ],
      [started([PerRequest]), 'its class is made per request'],
      [
        started([Header]),
        "a method has no Idempotency-Key header; give it a key of its own, for example @Idempotent('Header.pay:{args.0}'",
      ],
      [started([Uncertain]), 'onOrphan is "uncertain", so nothing would be completed'],
      [started([Wrong]), 'complete is { attempts: 1 }; it must be true, false or { attempts, deadlineMs }'],
      [started([], { complete: true }), 'complete is not an option here'],
    ];
    await Promise.all(cases.map(([starting, message]) => expect(starting).rejects.toThrow(message)));
    const app = await open({}, []);
    const running = app.app
      .get(IdempotencyService)
      .run({ scope: 's', key: 'k', complete: true } as never, () => 1);
    await expect(running).rejects.toThrow('a function cannot be run by another process');
  });
});
