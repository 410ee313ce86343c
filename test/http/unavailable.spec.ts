import { Controller, Post } from '@nestjs/common';
import {
  Idempotent,
  IdempotencyContext,
  IdempotencyCtx,
  type LockDriver,
  memoryLock,
  memoryStore,
  type ResultStore,
} from 'nestjs-idempotent';
import {
  altered,
  expectProblem,
  expectReplayOf,
  MemoryLogger,
  PLATFORMS,
  startApp,
} from '../support/http-app.js';

let ran = 0;
let isDown = true;

beforeEach(() => {
  ran = 0;
  isDown = true;
});

@Controller()
class Refunds {
  @Post('strict') @Idempotent() strict() {
    return { ran: ++ran };
  }
  @Post('lenient') @Idempotent({ onUnavailable: 'run' }) lenient(
    @IdempotencyCtx() context: IdempotencyContext,
  ) {
    const { isProtected, attempt, fence, signal } = context;
    context.assertHeld();
    return {
      ran: ++ran,
      isProtected,
      attempt,
      fence: String(fence),
      aborted: signal.aborted,
      key: context.key,
    };
  }
}

/** Down, hung, or broken in a way of its own. */
const failures = {
  'that refuses': () => Promise.reject(new Error('ECONNREFUSED 10.0.0.7')),
  'that throws at once': () => {
    throw new Error('closed');
  },
  'that never answers': () => new Promise<never>(() => undefined),
};

function downStore(fail: () => Promise<never>): ResultStore {
  const store = memoryStore();
  return altered(store, { claim: (request) => (isDown ? fail() : store.claim(request)) });
}

function downLock(fail: () => Promise<never>): LockDriver {
  const lock = memoryLock();
  return new Proxy(lock, {
    get: (target, name) => {
      const value: unknown = name === 'acquire' && isDown ? fail : Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

describe.each(PLATFORMS)('%s', (platform) => {
  describe.each(Object.entries(failures))('a backend %s', (_name, fail) => {
    it.each([
      ['store', () => ({ store: downStore(fail) })],
      ['lock', () => ({ lock: downLock(fail) })],
    ])('G85 %s: 503, the handler does not run; afterwards it does', async (_backend, module) => {
      const logger = new MemoryLogger();
      await using app = await startApp({
        platform,
        controllers: [Refunds],
        logger,
        module: { ...module(), backendTimeoutMs: 100 },
      });
      const refusal = await app.post('/strict', 'k', {});
      expectProblem(refusal, 503, 'unavailable');
      expect([refusal.headers.get('retry-after'), ran]).toEqual(['1', 0]);
      expect(refusal.text).not.toContain('10.0.0.7');
      expect(app.counters).toMatchObject({ unavailable: 1, unprotected: 0, claims: 0 });
      expect(logger.lines).toEqual([expect.stringMatching(/^warn Refunds\.strict .* refused: /)]);
      isDown = false;
      const first = await app.post('/strict', 'k', {});
      expect([first.status, first.json]).toEqual([201, { ran: 1 }]);
      expectReplayOf(first, await app.post('/strict', 'k', {}));
    });

    it.each([
      ['store', () => ({ store: downStore(fail) })],
      ['lock', () => ({ lock: downLock(fail) })],
    ])("%s with onUnavailable 'run': it runs, marked and counted", async (_backend, module) => {
      const logger = new MemoryLogger();
      await using app = await startApp({
        platform,
        controllers: [Refunds],
        logger,
        module: { ...module(), backendTimeoutMs: 100 },
      });
      for (const nth of [1, 2]) {
        const answer = await app.post('/lenient', 'k', {});
        const json = { ran: nth, isProtected: false, attempt: 1, fence: '0', aborted: false, key: 'k' };
        expect([answer.status, answer.json]).toEqual([201, json]);
        expect(answer.headers.get('idempotency-status')).toBe('unprotected');
        expect(answer.headers.get('idempotent-replayed')).toBeNull();
      }
      expect(app.counters).toMatchObject({ unavailable: 0, unprotected: 2, claims: 0 });
      expect(logger.lines[0]).toMatch(/^warn Refunds\.lenient .* WITHOUT protection/);
      isDown = false;
      const first = await app.post('/lenient', 'k', {});
      expect([first.json.isProtected, first.headers.get('idempotency-status')]).toEqual([true, null]);
      expectReplayOf(first, await app.post('/lenient', 'k', {}));
    });
  });
});
