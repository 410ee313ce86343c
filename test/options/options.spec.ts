import { Controller, type INestApplication, Post } from '@nestjs/common';
import { Idempotent, IdempotencyOptionsError, memoryLock, memoryStore } from 'nestjs-idempotent';
import { PLATFORMS, startApp } from '../support/http-app.js';

const MS = (least: number, most = 2 ** 31 - 1) =>
  `it must be an integer from ${least} to ${most} (milliseconds)`;
const PRINCIPAL = 'it must be a function such as ({ request }) => request.user?.id';
const STORE = 'it must be a result store, for example typeOrmStore({ dataSource })';
const LOCK = 'it must be a lock driver, for example redisLock({ client })';
const SWEEP = 'it must be false or { everyMs, rows } with integers of at least 10 and 1';
const HEADERS = 'it must be a list of header names without Set-Cookie';
const ON_ERROR = "it must be 'release', 'replay', 'uncertain' or a function of (error, call)";

/** Option, wrong value, how the value is shown, the fix. Of module and route. */
const WRONG: [string, unknown, string, string][] = [
  ['leaseMs', 49, '49', MS(50)],
  ['leaseMs', 1.5, '1.5', MS(50)],
  ['leaseMs', '30000', '"30000"', MS(50)],
  ['leaseMs', NaN, 'NaN', MS(50)],
  ['leaseMs', Infinity, 'Infinity', MS(50)],
  ['leaseMs', 2 ** 31, '2147483648', MS(50)],
  ['leaseMs', null, 'null', MS(50)],
  ['maxHoldMs', 0, '0', MS(50)],
  ['retentionMs', 0, '0', MS(1, Number.MAX_SAFE_INTEGER)],
  ['retentionMs', -1, '-1', MS(1, Number.MAX_SAFE_INTEGER)],
  ['retentionMs', '24h', '"24h"', MS(1, Number.MAX_SAFE_INTEGER)],
  ['onConflict', 'queue', '"queue"', "it must be 'reject' or 'wait'"],
  ['onConflict', true, 'true', "it must be 'reject' or 'wait'"],
  ['waitTimeoutMs', -1, '-1', MS(0)],
  ['onError', 'store', '"store"', ON_ERROR],
  ['onError', {}, '{}', ON_ERROR],
  ['onOrphan', 'run', '"run"', "it must be 'retry' or 'uncertain'"],
  ['reconcile', 'bank', '"bank"', 'it must be a function of the call that returns { status, body }'],
  ['reconcile', null, 'null', 'it must be a function of the call'],
  ['reconcileTimeoutMs', 9, '9', MS(10)],
  ['onUnavailable', 'open', '"open"', "it must be 'reject' or 'run'"],
  ['onUnavailable', null, 'null', "it must be 'reject' or 'run'"],
  ['backendTimeoutMs', 9, '9', MS(10)],
  ['scope', '', '""', 'it must be a text that is not empty'],
  ['scope', 5, '5', 'it must be a text'],
  ['fingerprint', 'body', '"body"', 'it must be a function of the call'],
  ['required', 'yes', '"yes"', 'it must be true or false'],
  ['required', 0, '0', 'it must be true or false'],
  ['maxResponseBytes', -1, '-1', 'it must be an integer of at least 0 (bytes)'],
  ['maxResponseBytes', 1.5, '1.5', 'it must be an integer'],
  ['maxResponseBytes', '1MB', '"1MB"', 'it must be an integer'],
  ['responseHeaders', 'location', '"location"', HEADERS],
  ['responseHeaders', ['x-a', 5], '["x-a", 5]', HEADERS],
  ['responseHeaders', [''], '[""]', HEADERS],
  ['responseHeaders', ['x-a', 'Set-Cookie'], '["x-a", "Set-Cookie"]', HEADERS],
  ['responseHeaders', ['date'], '["date"]', HEADERS],
  ['responseHeaders', ['transfer-encoding'], '["transfer-encoding"]', HEADERS],
  ['responseHeaders', ['x-ratelimit-limit'], '["x-ratelimit-limit"]', HEADERS],
];

/** Of the module only. */
const WRONG_MODULE: [string, unknown, string, string][] = [
  ['principal', undefined, 'undefined', PRINCIPAL],
  ['principal', null, 'null', PRINCIPAL],
  ['principal', 'user', '"user"', PRINCIPAL],
  ['principal', '', '""', PRINCIPAL],
  ['principal', {}, '{}', PRINCIPAL],
  ['store', undefined, 'undefined', STORE],
  ['store', null, 'null', STORE],
  ['store', 'redis', '"redis"', STORE],
  ['store', { url: 'postgres://user:secret@db' }, '{ url: … }', STORE],
  ['store', memoryStore, 'a function', STORE],
  ['store', memoryLock(), 'an object (MemoryLock)', STORE],
  ['store', { claim() {}, find() {} }, '{ claim: …, find: … }', STORE],
  ['lock', 'redis', '"redis"', LOCK],
  ['lock', null, 'null', LOCK],
  ['lock', memoryStore(), 'an object (MemoryStore)', LOCK],
  ['sweep', true, 'true', SWEEP],
  ['sweep', 1000, '1000', SWEEP],
  ['sweep', null, 'null', SWEEP],
  ['sweep', { everyMs: 5 }, '{ everyMs: 5 }', SWEEP],
  ['sweep', { rows: 0 }, '{ rows: 0 }', SWEEP],
  ['sweep', { rows: 'many' }, '{ rows: … }', SWEEP],
  ['sweep', { every: 60_000 }, '{ every: 60000 }', SWEEP],
];

const start = (module: Record<string, any>, options?: object) => {
  @Controller()
  class Refunds {
    @Post('refund') @Idempotent(options) refund() {}
  }
  return startApp({ controllers: [Refunds], module });
};

/** Not `rejects`: an app that starts all the same would stay. */
async function failureOf(starting: Promise<INestApplication | { close(): Promise<void> }>): Promise<unknown> {
  const app = await starting.catch((error: unknown) => error);
  if (typeof app === 'object' && app !== null && 'close' in app)
    await (app as { close(): Promise<void> }).close();
  return app;
}

describe('G83', () => {
  it.each([...WRONG, ...WRONG_MODULE])(
    'the module does not start with %s: %p',
    async (option, value, shown, fix) => {
      const error = await failureOf(start({ [option]: value }));
      expect(error).toBeInstanceOf(IdempotencyOptionsError);
      expect((error as Error).message).toBe(`IdempotencyModule: ${option} is ${shown}; ${rest(error, fix)}`);
    },
  );

  it.each(WRONG)('a route does not start with %s: %p', async (option, value, shown, fix) => {
    const error = await failureOf(start({}, { [option]: value }));
    expect(error).toBeInstanceOf(IdempotencyOptionsError);
    expect((error as Error).message).toBe(
      `@Idempotent on Refunds.refund: ${option} is ${shown}; ${rest(error, fix)}`,
    );
  });

  /** The fix goes on; its beginning is what matters. */
  function rest(error: unknown, fix: string): string {
    const { message } = error as Error;
    const at = message.indexOf(fix);
    return at < 0 ? fix : message.slice(at);
  }

  it.each(['principal', 'store', 'lock', 'sweep', 'encryption', 'leaseMS', 'ttl'])(
    'a route has no option %s',
    async (option) => {
      const error = await failureOf(start({}, { [option]: 'none' }));
      expect(error).toBeInstanceOf(IdempotencyOptionsError);
      expect((error as Error).message).toBe(`@Idempotent on Refunds.refund: ${option} is not an option here`);
    },
  );

  it.each(['principle', 'leaseMS', 'ttl', 'constructor_'])('the module has no option %s', async (option) => {
    const error = await failureOf(start({ [option]: 'none' }));
    expect((error as Error).message).toBe(`IdempotencyModule: ${option} is not an option here`);
  });

  it('several mistakes are told at once', async () => {
    const error = await failureOf(start({ leaseMs: 1, retentionMs: 'x', prinzipal: 1 }));
    expect((error as Error).message).toMatch(
      /leaseMs is 1;.*retentionMs is "x";|retentionMs is "x";.*leaseMs is 1;/,
    );
    expect((error as Error).message).toContain('prinzipal is not an option here');
  });

  it('a lease longer than it may be held is refused, whoever set which', async () => {
    const message = 'maxHoldMs is 600000; it must be at least leaseMs, which is 900000';
    for (const starting of [start({ leaseMs: 900_000 }), start({}, { leaseMs: 900_000 })]) {
      expect(((await failureOf(starting)) as Error).message).toContain(message);
    }
    const both = await failureOf(start({ leaseMs: 500, maxHoldMs: 1_000 }, { leaseMs: 1_001 }));
    expect((both as Error).message).toContain(
      'maxHoldMs is 1000; it must be at least leaseMs, which is 1001',
    );
  });

  it.each([
    [
      'numbers at their limits',
      { leaseMs: 50, maxHoldMs: 2 ** 31 - 1, retentionMs: Number.MAX_SAFE_INTEGER },
    ],
    ['small numbers', { retentionMs: 1, waitTimeoutMs: 0, backendTimeoutMs: 10, maxResponseBytes: 0 }],
    [
      'undefined, which is the default',
      { leaseMs: undefined, onError: undefined, lock: undefined, sweep: undefined },
    ],
    ['a sweep', { sweep: { everyMs: 10, rows: 1 } }],
    ['a sweep of defaults', { sweep: {} }],
    ['no sweep', { sweep: false }],
    ['headers', { responseHeaders: ['X-A', 'x-b-*', '*'] }],
    ['no headers', { responseHeaders: [] }],
    [
      'words',
      { onConflict: 'wait', onOrphan: 'uncertain', onUnavailable: 'run', onError: 'replay', required: false },
    ],
  ])('the module starts with %s', async (_name, options) => {
    await using app = await start(options);
    expect(app.port).toBeGreaterThan(0);
  });
});

let ran = 0;

describe.each(PLATFORMS)('%s', (platform) => {
  it('an option of a route wins over that of the module, which wins over the default', async () => {
    @Controller()
    class Refunds {
      @Post('as-module') @Idempotent() asModule() {
        return `${++ran} long enough`;
      }
      @Post('own') @Idempotent({ maxResponseBytes: 100 }) own() {
        return `${++ran} long enough`;
      }
      @Post('undefined') @Idempotent({ maxResponseBytes: undefined as never }) undefined() {
        return `${++ran} long enough`;
      }
    }
    await using app = await startApp({ platform, controllers: [Refunds], module: { maxResponseBytes: 5 } });
    const statusOfSecond = async (path: string) => {
      await app.post(path, 'k', {});
      return (await app.post(path, 'k', {})).status;
    };
    expect([
      await statusOfSecond('/as-module'),
      await statusOfSecond('/own'),
      await statusOfSecond('/undefined'),
    ]).toEqual([409, 201, 409]);
  });
});
