import { Body, Controller, Header, Post } from '@nestjs/common';
import { Idempotent, IdempotencyContext, IdempotencyCtx, memoryStore } from 'nestjs-idempotent';
import { altered, type Answer, eventually, expectProblem, expectReplayOf } from '../support/http-app.js';
import { Gate, PLATFORMS, startApp, type TestApp } from '../support/http-app.js';

let ran = 0;
let entered = new Gate();
let leave = new Gate();

@Controller()
class Refunds {
  @Post('refund')
  @Idempotent()
  refund(@Body() body: unknown, @IdempotencyCtx() { key }: IdempotencyContext) {
    return { ran: ++ran, key, body };
  }

  @Post('slow')
  @Idempotent()
  async slow() {
    ran++;
    entered.open();
    await leave.opened;
    return 'done';
  }

  @Post('large')
  @Idempotent({ maxResponseBytes: 10 })
  large() {
    return { ran: ++ran, text: 'longer than ten bytes' };
  }

  @Post('doubtful')
  @Idempotent({ onError: 'uncertain' })
  doubtful() {
    ran++;
    throw new Error('who knows');
  }

  @Post('short-lived')
  @Idempotent({ leaseMs: 100, maxHoldMs: 100 })
  async shortLived(@IdempotencyCtx() { attempt }: IdempotencyContext) {
    ran++;
    if (attempt === 1) entered.open();
    if (attempt === 1) await leave.opened;
    return { attempt };
  }

  @Post('optional')
  @Idempotent({ required: false })
  optional(@IdempotencyCtx() { key, isProtected, attempt, fence }: IdempotencyContext) {
    return { ran: ++ran, key: key ?? null, isProtected, attempt, fence: String(fence) };
  }

  @Post('cached')
  @Header('cache-control', 'max-age=60')
  @Idempotent()
  cached() {
    return { ran: ++ran };
  }
}

beforeEach(() => {
  ran = 0;
  entered = new Gate();
  leave = new Gate();
});

describe.each(PLATFORMS)('%s', (platform) => {
  let app: TestApp;

  beforeAll(async () => {
    app = await startApp({ platform, controllers: [Refunds] });
  });
  afterAll(() => app.close());

  describe('the answer table', () => {
    it('key-missing', async () => {
      const refusal = await app.post('/refund', null, {});
      expectProblem(refusal, 400, 'key-missing');
      expect(refusal.json.title).toBe('Idempotency-Key is missing');
      expect(refusal.json.detail).toContain('Idempotency-Key');
      expect(refusal.headers.get('retry-after')).toBeNull();
      expect(ran).toBe(0);
    });

    it('principal-missing: nothing, null and an empty text are nobody', async () => {
      const answers: unknown[] = [undefined, null, ''];
      await using strict = await startApp({
        platform,
        controllers: [Refunds],
        module: { principal: () => answers.shift() as undefined },
      });
      for (let i = 0; i < 3; i++) {
        const refusal = await strict.post('/refund', 'k', {});
        expectProblem(refusal, 400, 'principal-missing');
        expect(refusal.headers.get('retry-after')).toBeNull();
      }
      expect(ran).toBe(0);
    });

    it('key-reused shows nothing of the first answer', async () => {
      await app.post('/refund', 'reused', { amount: 'secret' });
      const refusal = await app.post('/refund', 'reused', { amount: 2 });
      expectProblem(refusal, 422, 'key-reused');
      expect(refusal.json.title).toBe('Idempotency-Key is already used');
      expect(refusal.headers.get('retry-after')).toBeNull();
      expect(refusal.text).not.toContain('secret');
      expect(ran).toBe(1);
    });

    it('in-progress', async () => {
      const first = app.post('/slow', 'busy', {});
      await entered.opened;
      const refusal = await app.post('/slow', 'busy', {});
      leave.open();
      expectProblem(refusal, 409, 'in-progress');
      expect(refusal.json.title).toBe('A request is outstanding for this Idempotency-Key');
      expect(refusal.headers.get('retry-after')).toBe('1');
      expect([(await first).text, ran]).toEqual(['done', 1]);
    });

    it('response-not-replayable', async () => {
      expect((await app.post('/large', 'big', {})).json.text).toBe('longer than ten bytes');
      const refusal = await app.post('/large', 'big', {});
      expectProblem(refusal, 409, 'response-not-replayable');
      expect(refusal.headers.get('retry-after')).toBeNull();
      expect(ran).toBe(1);
    });

    it('outcome-uncertain', async () => {
      expect((await app.post('/doubtful', 'doubt', {})).status).toBe(500);
      const refusal = await app.post('/doubtful', 'doubt', {});
      expectProblem(refusal, 409, 'outcome-uncertain');
      expect(refusal.headers.get('retry-after')).toBeNull();
      expectProblem(await app.post('/doubtful', 'doubt', { other: 1 }), 422, 'key-reused');
      expect(ran).toBe(1);
    });

    it('lease-lost: a late owner has no answer of its own while its successor runs', async () => {
      const store = memoryStore();
      const frozen = altered(store, { complete: async () => false });
      await using late = await startApp({ platform, controllers: [Refunds], module: { store: frozen } });
      const refusal = await late.post('/refund', 'late', {});
      expectProblem(refusal, 409, 'lease-lost');
      expect(refusal.headers.get('retry-after')).toBe('1');
      expect(late.counters.lostLeases).toBe(1);
    });

    it('lease-lost: a late owner is given what its successor answered', async () => {
      const first = app.post('/short-lived', 'succeeded', {});
      await entered.opened;
      const second = await eventually(async () => {
        const answer = await app.post('/short-lived', 'succeeded', {});
        expect(answer.status).toBe(201);
        return answer;
      });
      leave.open();
      expect(second.json).toEqual({ attempt: 2 });
      expectReplayOf(second, await first);
      expect(ran).toBe(2);
    });

    it('unavailable: the handler does not run', async () => {
      const down = altered(memoryStore(), {
        claim: () => Promise.reject(new Error('connection refused to db:5432')),
      });
      await using closed = await startApp({ platform, controllers: [Refunds], module: { store: down } });
      const refusal = await closed.post('/refund', 'k', {});
      expectProblem(refusal, 503, 'unavailable');
      expect(refusal.headers.get('retry-after')).toBe('1');
      expect(refusal.text).not.toContain('5432');
      expect([ran, closed.counters.unavailable]).toEqual([0, 1]);
    });

    it('a replay keeps no refusal header and says what it is', async () => {
      const first = await app.post('/cached', 'c', {});
      const replay = await app.post('/cached', 'c', {});
      expectReplayOf(first, replay);
      expect(replay.headers.get('cache-control')).not.toBe('no-store');
    });
  });

  describe('malformed keys', () => {
    const refused: [string, string[]][] = [
      ['empty', ['Idempotency-Key:']],
      ['blank', ['Idempotency-Key:    ']],
      ['quoted empty', ['Idempotency-Key: ""']],
      ['256 characters', [`Idempotency-Key: ${'a'.repeat(256)}`]],
      ['256 characters in quotes', [`Idempotency-Key: "${'a'.repeat(256)}"`]],
      ['8 kB', [`Idempotency-Key: ${'a'.repeat(8_000)}`]],
      ['a tab inside', ['Idempotency-Key: a\tb']],
      ['a tab inside quotes', ['Idempotency-Key: "a\tb"']],
      ['a list', ['Idempotency-Key: a, b']],
      ['a list without blanks', ['Idempotency-Key: a,b']],
      ['a list of strings', ['Idempotency-Key: "a", "b"']],
      ['a list of strings with parameters', ['Idempotency-Key: "a";x=1, "b"']],
      ['a trailing comma', ['Idempotency-Key: a,']],
      ['sent twice', ['Idempotency-Key: a', 'Idempotency-Key: b']],
      ['sent twice with one value', ['Idempotency-Key: a', 'idempotency-key: a']],
      ['sent twice in quotes', ['Idempotency-Key: "a"', 'Idempotency-Key: "a"']],
      ['sent twice, first with a parameter', ['Idempotency-Key: "a";x', 'Idempotency-Key: "b"']],
      ['sent twice, first empty', ['Idempotency-Key:', 'Idempotency-Key: a']],
      ['sent twice, then empty', ['Idempotency-Key: a', 'Idempotency-Key:']],
      ['no closing quote', ['Idempotency-Key: "a']],
      ['one quote', ['Idempotency-Key: "']],
      ['text after the quotes', ['Idempotency-Key: "a"b']],
      ['a quote inside quotes', ['Idempotency-Key: "a"b"']],
      ['a backslash before the closing quote', ['Idempotency-Key: "a\\"']],
      ['an escape of a letter', ['Idempotency-Key: "a\\b"']],
    ];

    it.each(refused)('%s', async (_name, lines) => {
      expectProblem(await app.postRaw('/refund', lines), 400, 'key-invalid');
      expect(ran).toBe(0);
    });

    it.each([
      ['NUL', '\x00'],
      ['BEL', '\x07'],
      ['CR', '\r'],
      ['ESC', '\x1b'],
      ['DEL', '\x7f'],
    ])('%s is refused, by the server or by us', async (_name, character) => {
      const refusal = await app.postRaw('/refund', [`Idempotency-Key: a${character}b`]);
      expect([refusal.status, ran]).toEqual([400, 0]);
    });
  });

  describe('keys that look like trouble are keys', () => {
    const keys = [
      ...[
        '__proto__',
        'constructor',
        'hasOwnProperty',
        'toString',
        'undefined',
        'null',
        'NaN',
        '0',
        '[object Object]',
      ],
      ...[
        "'; DROP TABLE idempotency_record; --",
        '${jndi:ldap://x}',
        '{{7*7}}',
        '<script>alert(1)</script>',
        '%00',
      ],
      ...[
        '../../etc/passwd',
        '%s%n',
        '{body.orderId}',
        'a:b|c#d?e&f=g',
        '*',
        '{tag}',
        'W/x',
        '\\',
        'a"b',
        '-1',
      ],
    ];

    it.each(keys)('%s', async (key) => {
      const first = await app.postRaw('/refund', [`Idempotency-Key: ${key}`]);
      expect([first.status, first.json.key]).toEqual([201, key]);
      expectReplayOf(first, await app.postRaw('/refund', [`Idempotency-Key: ${key}`]));
      expect(ran).toBe(1);
    });
  });

  describe('bodies the server refuses burn no key', () => {
    const broken: [string, string, number][] = [
      ['broken JSON', '{"amount":', 400],
      ['too large', JSON.stringify({ text: 'x'.repeat(2 ** 20 + 1) }), 413],
      ['prototype pollution', '{"constructor":{"prototype":{"polluted":1}},"amount":', 400],
    ];

    it.each(broken)('%s', async (name, body, status) => {
      const refusal = await app.post('/refund', name, body);
      expect([refusal.status, ran]).toEqual([status, 0]);
      expect((await app.post('/refund', name, { amount: 1 })).status).toBe(201);
      expect(ran).toBe(1);
    });
  });

  it('G43 a body nested as deep as the server takes it is an ordinary body', async () => {
    const body = `{"a":${'['.repeat(40_000)}${']'.repeat(40_000)}}`;
    const first = await app.post('/cached', 'deep', body);
    expect([first.status, first.json]).toEqual([201, { ran: 1 }]);
    expectReplayOf(first, await app.post('/cached', 'deep', body));
    expectProblem(await app.post('/cached', 'deep', body.replace('[]', '[0]')), 422, 'key-reused');
  });

  describe('required: false', () => {
    it('a call without a key runs, each time, unprotected', async () => {
      const answers = [await app.post('/optional', null, {}), await app.post('/optional', null, {})];
      expect(answers.map(({ json }) => json)).toEqual([
        { ran: 1, key: null, isProtected: false, attempt: 1, fence: '0' },
        { ran: 2, key: null, isProtected: false, attempt: 1, fence: '0' },
      ]);
    });

    it('a call with a key is protected, and a malformed key is refused', async () => {
      const first = await app.post('/optional', 'opt', {});
      expect(first.json).toMatchObject({ ran: 1, key: 'opt', isProtected: true, attempt: 1 });
      expect(BigInt(first.json.fence)).toBeGreaterThan(0n);
      expectReplayOf(first, await app.post('/optional', 'opt', {}));
      expectProblem(await app.postRaw('/optional', ['Idempotency-Key: ""']), 400, 'key-invalid');
    });
  });

  it('every outcome is counted', async () => {
    await using counted = await startApp({ platform, controllers: [Refunds] });
    const ask = async (key: string, body: unknown): Promise<Answer> => counted.post('/refund', key, body);
    await ask('a', {});
    await ask('a', {});
    await ask('a', { other: 1 });
    expect(counted.counters).toMatchObject({
      claims: 1,
      replays: 1,
      mismatches: 1,
      conflicts: 0,
      unavailable: 0,
    });
  });
});
