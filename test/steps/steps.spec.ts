import { randomUUID } from 'node:crypto';
import {
  type IdempotencyContext,
  IdempotencyError,
  IdempotencyService,
  memoryStore,
  type ResultStore,
  type RunRequest,
  StepError,
  StepNotRecordedError,
} from 'nestjs-idempotent';
import { STORES } from '../support/backends.js';
import { startApp, type TestApp } from '../support/http-app.js';

const SCOPE = 'steps';

async function serviceOn(store: ResultStore): Promise<{ app: TestApp; service: IdempotencyService }> {
  const app = await startApp({ module: { store } });
  return { app, service: app.app.get(IdempotencyService) };
}

describe.each(STORES)('$name', ({ open }) => {
  let apps: TestApp[];
  let service: IdempotencyService;
  /** As another process would have it. */
  let other: IdempotencyService;
  let store: ResultStore;

  beforeAll(async () => {
    store = await open();
    const made = await Promise.all([serviceOn(store), serviceOn(store)]);
    apps = made.map(({ app }) => app);
    [service, other] = made.map((one) => one.service) as [IdempotencyService, IdempotencyService];
  });
  afterAll(() => Promise.all(apps.map((app) => app.close())));

  const request = (changes: Partial<RunRequest> = {}): RunRequest => ({
    scope: SCOPE,
    key: randomUUID(),
    ...changes,
  });

  it('G51 a recorded step is not done again on a later attempt, by whomever; the downstream key stays', async () => {
    const call = request();
    const did: string[] = [];
    const keys: string[] = [];
    const work = (crash: string | null) => async (ctx: IdempotencyContext) => {
      keys.push(ctx.deriveKey('bank'));
      const charge = await ctx.step('charge', () => {
        did.push('charge');
        return { id: 7, tags: ['a', null], nothing: undefined };
      });
      if (crash === 'between') throw new Error('crash');
      const mail = await ctx.step('mail', async () => void did.push('mail'));
      if (crash === 'after') throw new Error('crash');
      return { charge, mail, attempt: ctx.attempt };
    };
    await expect(service.run(call, work('between'))).rejects.toThrow('crash');
    await expect(other.run(call, work('after'))).rejects.toThrow('crash');
    const { value } = await service.run(call, work(null));
    expect(value).toEqual({ charge: { id: 7, tags: ['a', null] }, mail: undefined, attempt: 3 });
    expect(did).toEqual(['charge', 'mail']);
    expect(new Set(keys).size).toBe(1);
  });

  it('G51 an orphan under onOrphan retry goes on after its last step; its late owner records nothing more', async () => {
    const call = request({ leaseMs: 60, maxHoldMs: 60 });
    const did: string[] = [];
    const late = service.run(call, async (ctx) => {
      await ctx.step('first', () => did.push('first by 1'));
      await ctx.step('second', async () => {
        await new Promise((resolve) => setTimeout(resolve, 150));
        await other.run({ ...call, leaseMs: 30_000, maxHoldMs: 30_000 }, async (successor) => {
          await successor.step('first', () => did.push('first by 2'));
          await successor.step('second', () => did.push('second by 2'));
          return successor.attempt;
        });
        did.push('second by 1');
      });
      await ctx.step('third', () => did.push('third by 1'));
    });
    await expect(late).rejects.toMatchObject({ code: 'lease-lost' });
    await expect(service.run(call, () => 0)).resolves.toMatchObject({ value: 2, replayed: true });
    expect(did).toEqual(['first by 1', 'second by 2', 'second by 1']);
  });

  it('steps at the same time are recorded each by itself', async () => {
    const call = request();
    const did: string[] = [];
    const work = (fails: boolean) => async (ctx: IdempotencyContext) => {
      const step = (name: string, ms: number) =>
        ctx.step(name, async () => {
          await new Promise((resolve) => setTimeout(resolve, ms));
          if (fails && name === 'b') throw new Error('b failed');
          did.push(name);
          return name;
        });
      const ends = await Promise.allSettled([step('a', 20), step('b', 5), step('c', 1)]);
      return ends.map((end) => {
        if (end.status === 'rejected') throw end.reason;
        return end.value;
      });
    };
    await expect(service.run(call, work(true))).rejects.toThrow('b failed');
    const { value } = await other.run(call, work(false));
    expect(value).toEqual(['a', 'b', 'c']);
    expect(did).toEqual(['c', 'a', 'b']);
  });

  it('a step in another place than before is an error that names both, and nothing is done', async () => {
    const call = request();
    let did = 0;
    const step = (ctx: IdempotencyContext, name: string) => ctx.step(name, () => ++did);
    await expect(
      service.run(call, async (ctx) => {
        await step(ctx, 'reserve');
        await step(ctx, 'charge');
        throw new Error('crash');
      }),
    ).rejects.toThrow('crash');
    await expect(service.run(call, (ctx) => step(ctx, 'charge'))).rejects.toThrow(
      /step 1 is "charge" now, but it was step 2, and step 1 was "reserve"/,
    );
    const inserted = service.run(call, async (ctx) => {
      await step(ctx, 'reserve');
      await step(ctx, 'notify');
    });
    await expect(inserted).rejects.toThrow(/step 2 is "notify" now, but that was "charge"/);
    await expect(inserted).rejects.toThrow(StepError);
    expect(did).toBe(2);
  });

  it('work that is done but whose result JSON cannot hold is not done a second time', async () => {
    const call = request();
    let did = 0;
    const work = (ctx: IdempotencyContext) => ctx.step('count', () => ({ total: BigInt(++did) }));
    const told = /"count" was done, but its result cannot be kept: result\.total is a bigint.*toString/;
    await expect(service.run(call, work)).rejects.toThrow(told);
    await expect(other.run(call, work)).rejects.toThrow(told);
    expect(did).toBe(1);
  });
});

describe('on any store', () => {
  let app: TestApp;
  let service: IdempotencyService;
  beforeAll(async () => ({ app, service } = await serviceOn(memoryStore())));
  afterAll(() => app.close());

  const run = <T>(work: (ctx: IdempotencyContext) => Promise<T>) =>
    service.run({ scope: SCOPE, key: randomUUID() }, work).then(({ value }) => value);

  it('a name used twice in one attempt is an error that names both places', async () => {
    const twice = run(async (ctx) => {
      await ctx.step('reserve', () => 1);
      await ctx.step('charge', () => 2);
      await ctx.step('reserve', () => 3);
    });
    await expect(twice).rejects.toThrow(
      'Step "reserve" was called twice in one attempt: it is already step 1 of this call, and would be step 3',
    );
  });

  it('a step that failed may be tried again', async () => {
    let tries = 0;
    const value = await run(async (ctx) => {
      const flaky = () => {
        if (++tries < 3) throw new Error('try again');
        return tries;
      };
      for (;;) {
        try {
          return await ctx.step('flaky', flaky);
        } catch {
          continue;
        }
      }
    });
    expect(value).toBe(3);
  });

  it('a step inside of a step is refused', async () => {
    const nested = run((ctx) => ctx.step('outer', () => ctx.step('inner', () => 1)));
    await expect(nested).rejects.toThrow('Step "inner" was called inside of step "outer"');
  });

  it.each([[''], ['x'.repeat(129)], [' charge'], [7], [undefined]])(
    'the name %p is refused',
    async (name) => {
      const refused = run((ctx) => ctx.step(name as string, () => 1));
      await expect(refused).rejects.toThrow(/must be a text of 1 to 128 characters/);
    },
  );

  class Fields {
    amount = 1;
    private readonly currency = 'EUR';
    total(): string {
      return `${this.amount} ${this.currency}`;
    }
  }
  const cyclic: Record<string, unknown> = { name: 'a' };
  cyclic.self = { cyclic };
  it.each([
    ['a bigint', 1n, 'result is a bigint'],
    ['a function', { deep: [() => 1] }, 'result.deep[0] is a function'],
    ['a symbol', { s: Symbol('s') }, 'result.s is a symbol'],
    ['a cycle', cyclic, 'result.self.cyclic is a part of itself'],
    ['undefined in a list', [1, undefined], 'result[1] is undefined'],
    ['a Date', { at: new Date(0) }, 'result.at is a Date, which JSON cannot hold; return date.toISOString()'],
    ['a Map', new Map([[1, 2]]), 'result is a Map'],
    ['bytes', { pdf: Buffer.from('x') }, 'result.pdf is a Buffer'],
    ['NaN', { rate: NaN }, 'result.rate is NaN'],
  ])('%s is refused by name and place', async (_, result, told) => {
    await expect(run((ctx) => ctx.step('odd', () => result))).rejects.toThrow(told);
  });

  it.each([
    ['null', null, null],
    ['nothing', undefined, undefined],
    ['a text with everything', '\0\u2028😀"', '\0\u2028😀"'],
    ['fields of a class', new Fields(), { amount: 1, currency: 'EUR' }],
    ['the same thing twice', [cyclic.name, cyclic.name], ['a', 'a']],
    ['undefined fields', { a: undefined, b: 0 }, { b: 0 }],
  ])('%s comes back on the first attempt as it would on the second', async (_, result, back) => {
    const value = await run((ctx) => ctx.step('plain', () => result));
    expect(value).toStrictEqual(back);
  });

  it('a store without steps says so', async () => {
    const { app: bare, service: on } = await serviceOn(having(memoryStore(), { steps: undefined }));
    await expect(on.run({ scope: SCOPE, key: 'k' }, (ctx) => ctx.step('a', () => 1))).rejects.toThrow(
      'The store "memory" keeps no steps',
    );
    await bare.close();
  });

  it('G21 a step that was done and cannot be recorded leaves the outcome uncertain', async () => {
    const store = memoryStore();
    const steps = { ...store.steps, record: () => Promise.reject(new Error('disk full')) };
    const { app: on, service: doomed } = await serviceOn(having(store, { steps }));
    const call = { scope: SCOPE, key: 'k', backendTimeoutMs: 100 };
    let did = 0;
    const work = (ctx: IdempotencyContext) => ctx.step('charge', () => ++did);
    await expect(doomed.run(call, work)).rejects.toThrow(StepNotRecordedError);
    const second = doomed.run(call, work);
    await expect(second).rejects.toThrow(IdempotencyError);
    await expect(second).rejects.toMatchObject({ code: 'outcome-uncertain' });
    expect(did).toBe(1);
    await on.close();
  });
});

/** The store, but for some of its properties. */
function having(store: ResultStore, changes: Partial<ResultStore>): ResultStore {
  return new Proxy(store, {
    get(target, name) {
      if (name in changes) return Reflect.get(changes, name);
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
