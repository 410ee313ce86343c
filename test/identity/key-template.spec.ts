import { Body, Controller, Post, Query } from '@nestjs/common';
import fc from 'fast-check';
import {
  type IdempotentCall,
  Idempotent,
  IdempotencyContext,
  IdempotencyCtx,
  type KeyFunction,
} from 'nestjs-idempotent';
import { IdempotencyError, IdempotencyOptionsError } from '../../lib/idempotency.errors.js';
import { compileKeyTemplate } from '../../lib/identity/key-template.js';
import { expectProblem, expectReplayOf, PLATFORMS, startApp, type TestApp } from '../support/http-app.js';

describe('a template', () => {
  const key = (template: string, call: object) => compileKeyTemplate(template)(call);

  it.each<[string, object, string]>([
    ['refund:{body.orderId}', { body: { orderId: 'o-1' } }, 'refund:o-1'],
    ['{body.orderId}', { body: { orderId: 'a:b%c' } }, 'a:b%c'],
    ['close:{args.0}', { args: ['day-1'] }, 'close:day-1'],
    ['{args.1.id}!', { args: [0, { id: 5 }] }, '5!'],
    ['{params.id}/{user.id}', { params: { id: 'p' }, user: { id: 7 } }, 'p/7'],
    ['{payload.n}', { payload: { n: 0 } }, '0'],
    ['{payload.n}', { payload: { n: false } }, 'false'],
    ['{payload.n}', { payload: { n: -1.5 } }, '-1.5'],
    ['{payload.n}', { payload: { n: 2n ** 70n } }, '1180591620717411303424'],
    ['{headers.x-request}', { headers: { 'x-request': 'r' } }, 'r'],
    ['{payload}', { payload: 'whole' }, 'whole'],
    ['{body.a}:{body.b}', { body: { a: '1:2', b: '3' } }, '1%3A2:3'],
    ['{body.a}:{body.b}', { body: { a: '1', b: '2:3' } }, '1:2%3A3'],
    ['{body.a}:{body.b}', { body: { a: '1%3A2', b: '3' } }, '1%253A2:3'],
    ['{body.a}-{body.b}', { body: { a: 'a-b', b: 'ü' } }, 'a%2Db-ü'],
    ['{body.a}].{body.b}', { body: { a: 'a].b', b: '^\\' } }, 'a%5D%2Eb].^\\'],
  ])('%s of %p', (template, call, expected) => {
    expect(key(template, call)).toBe(expected);
  });

  it.each([
    [{}],
    [{ body: null }],
    [{ body: undefined }],
    [{ body: {} }],
    [{ body: { order: null } }],
    [{ body: { order: {} } }],
    [{ body: { order: { id: null } } }],
    [{ body: { order: { id: undefined } } }],
    [{ body: { order: { id: '' } } }],
    [{ body: 'text' }],
    [{ body: 5 }],
  ])('G43 with %j has no key, and never the text "undefined"', (call) => {
    expect(key('refund:{body.order.id}', call)).toBeUndefined();
  });

  it.each([
    [{ id: 1 }],
    [[1]],
    [[]],
    [new Date(0)],
    [() => 'x'],
    [Symbol('s')],
    [NaN],
    [Infinity],
    [Object(1)],
  ])('G43 refuses %p as a value: it would be one text for many', (value) => {
    expect(() => key('refund:{body.id}', { body: { id: value } })).toThrow(IdempotencyError);
    expect(() => key('refund:{body.id}', { body: { id: value } })).toThrow(
      '{body.id} must be a text or a number',
    );
  });

  it.each(['{body.constructor}', '{body.toString}', '{body.__proto__}'])(
    'G43 %s is no value of the call',
    (template) => {
      expect(() => key(template, { body: {} })).toThrow(IdempotencyError);
    },
  );

  it('G43 a key made too long, with control characters or halves of characters is refused', () => {
    for (const id of ['x'.repeat(255), 'a\nb', 'a\0b', '\ud800', 'x\udc00']) {
      expect(() => key('r:{body.id}', { body: { id } })).toThrow(/malformed/);
    }
    expect(key('r:{body.id}', { body: { id: 'x'.repeat(253) } })).toHaveLength(255);
  });

  it('G43 two calls that differ never make one key', () => {
    const value = fc.string({
      unit: fc.constantFrom('a', ':', '%', '3', 'A', '/', '-', 'é'),
      minLength: 1,
      maxLength: 6,
    });
    const pair = fc.tuple(value, value);
    for (const template of ['{a}:{b}', '{a}/-{b}', 'x:{a}::{b}:y', '{a}%:{b}', '{b}-{a}']) {
      const make = compileKeyTemplate(template);
      fc.assert(
        fc.property(pair, pair, ([a, b], [c, d]) => {
          expect(make({ a, b }) === make({ a: c, b: d })).toBe(a === c && b === d);
        }),
        { numRuns: 2_000 },
      );
    }
  });

  it.each([
    ['refund', 'has no placeholder'],
    ['', 'has no placeholder'],
    ['refund:{}', 'write placeholders as'],
    ['{body.}', 'write placeholders as'],
    ['{.id}', 'write placeholders as'],
    ['{body..id}', 'write placeholders as'],
    ['{body.id', 'write placeholders as'],
    ['body.id}', 'write placeholders as'],
    ['{{body.id}}', 'write placeholders as'],
    ['{body.a}{body.b}', 'put punctuation between'],
    ['{body.a}x{body.b}', 'put punctuation between'],
    ['{body.a} {body.b}', 'put punctuation between'],
    ['{body.a}%{body.b}', 'put punctuation between'],
    ['{body.a}:{body.b}5{body.c}', 'put punctuation between'],
  ])('%j is refused: it %s', (template, why) => {
    const compile = () => compileKeyTemplate(template);
    expect(compile).toThrow(IdempotencyOptionsError);
    expect(compile).toThrow(why);
    expect(compile).toThrow(JSON.stringify(template).slice(1, -1));
  });

  it('is refused before the app starts, and the handler is named', () => {
    const decorate = (template: string) => () => {
      class Refunds {
        @Idempotent(template) create() {}
      }
      return Refunds;
    };
    expect(decorate('refund')).toThrow(IdempotencyOptionsError);
    expect(decorate('refund')).toThrow(
      /^@Idempotent on Refunds\.create: Key template "refund" has no placeholder/,
    );
    expect(decorate('{body.a}{body.b}')).toThrow(/^@Idempotent on Refunds\.create: .*punctuation/);
  });
});

let ran = 0;
beforeEach(() => {
  ran = 0;
});

const functions: Record<string, KeyFunction> = {
  user: ({ body, headers }) => `${headers['x-customer']}:${body.orderId}`,
  later: async ({ body }) => body.orderId,
  nothing: () => undefined,
  null: () => null,
  empty: () => '',
  long: () => 'x'.repeat(256),
  control: () => 'a\nb',
  object: (() => ({ id: 1 })) as never,
  number: (() => 7) as never,
  throwing: () => {
    throw new Error('no order');
  },
};

function withFunction(name: string) {
  @Controller()
  class Refunds {
    @Post('refund') @Idempotent(functions[name]!) refund(@IdempotencyCtx() { key }: IdempotencyContext) {
      return { ran: ++ran, key };
    }
  }
  return Refunds;
}

@Controller()
class Refunds {
  @Post('by-order') @Idempotent('refund:{body.orderId}') byOrder(
    @IdempotencyCtx() { key }: IdempotencyContext,
  ) {
    return { ran: ++ran, key };
  }
  @Post('by-two') @Idempotent('{user.id}:{body.orderId}:{query.day}') byTwo(
    @Query() _query: unknown,
    @Body() _body: unknown,
  ) {
    return { ran: ++ran };
  }
  @Post('optional') @Idempotent('{body.orderId}', { required: false }) optional() {
    return { ran: ++ran };
  }
}

describe.each(PLATFORMS)('%s', (platform) => {
  let app: TestApp;

  beforeAll(async () => {
    app = await startApp({ platform, controllers: [Refunds] });
  });
  afterAll(() => app.close());

  it('a template makes the key of a request, without a header', async () => {
    const first = await app.post('/by-order', null, { orderId: 'o-1' });
    expect([first.status, first.json]).toEqual([201, { ran: 1, key: 'refund:o-1' }]);
    expectReplayOf(first, await app.post('/by-order', null, { orderId: 'o-1' }));
    expectReplayOf(first, await app.post('/by-order', 'a header', { orderId: 'o-1' }));
    expectProblem(await app.post('/by-order', null, { orderId: 'o-1', amount: 2 }), 422, 'key-reused');
    expect((await app.post('/by-order', null, { orderId: 'o-2' })).json).toEqual({
      ran: 2,
      key: 'refund:o-2',
    });
  });

  it.each([[{}], [{ orderId: null }], [{ orderId: '' }], ['[]'], [undefined]])(
    'a missing value (%j) is a 400 that names the placeholder',
    async (body) => {
      const refusal = await app.post('/by-order', null, body);
      expectProblem(refusal, 400, 'key-missing');
      expect(refusal.json.detail).toContain('{body.orderId}');
      expect(ran).toBe(0);
    },
  );

  it('names those that are missing, and only those', async () => {
    const refusal = await app.post('/by-two?day=1', null, { orderId: 'o' });
    expectProblem(refusal, 400, 'key-missing');
    expect(refusal.json.detail).toContain('{user.id}');
    expect(refusal.json.detail).not.toContain('{body.orderId}');
    expect(refusal.json.detail).not.toContain('{query.day}');
  });

  it.each([
    [{ orderId: { id: 1 } }],
    [{ orderId: [1] }],
    [{ orderId: 'x'.repeat(300) }],
    [{ orderId: 'a\u0000b' }],
  ])('a value that makes no key (%j) is a 400', async (body) => {
    expectProblem(await app.post('/by-order', null, body), 400, 'key-invalid');
    expect(ran).toBe(0);
  });

  it('halves of characters make no key', async () => {
    expectProblem(await app.post('/by-order', null, '{"orderId":"\\ud800"}'), 400, 'key-invalid');
  });

  it('with required: false a request that lacks the value runs unprotected', async () => {
    expect((await app.post('/optional', null, {})).json).toEqual({ ran: 1 });
    expect((await app.post('/optional', null, {})).json).toEqual({ ran: 2 });
    const first = await app.post('/optional', null, { orderId: 1 });
    expectReplayOf(first, await app.post('/optional', null, { orderId: 1 }));
  });

  it.each([
    ['user', 'alice:o-1'],
    ['later', 'o-1'],
  ])('a function (%s) makes the key', async (name, key) => {
    await using mine = await startApp({ platform, controllers: [withFunction(name)] });
    const send = () => mine.post('/refund', null, { orderId: 'o-1' }, { 'x-customer': 'alice' });
    const first = await send();
    expect(first.json).toEqual({ ran: 1, key });
    expectReplayOf(first, await send());
  });

  it.each([
    ['nothing', 400, 'key-missing'],
    ['null', 400, 'key-missing'],
    ['empty', 400, 'key-missing'],
    ['long', 400, 'key-invalid'],
    ['control', 400, 'key-invalid'],
    ['object', 500, undefined],
    ['number', 500, undefined],
    ['throwing', 500, undefined],
  ])('a function that gives %s: %i', async (name, status, code) => {
    await using mine = await startApp({ platform, controllers: [withFunction(name)] });
    const refusal = await mine.post('/refund', null, {});
    if (code) expectProblem(refusal, status, code);
    expect([refusal.status, ran, mine.counters.claims]).toEqual([status, 0, 0]);
  });

  it('a function sees the call', async () => {
    const calls: IdempotentCall[] = [];
    @Controller()
    class Seeing {
      @Post('orders/:id')
      @Idempotent((call) => {
        calls.push(call);
        return call.params.id;
      })
      seeing() {}
    }
    await using mine = await startApp({ platform, controllers: [Seeing] });
    await mine.post('/orders/7?x=1', null, { a: 1 });
    expect(calls).toHaveLength(1);
    expect(calls[0]).toMatchObject({
      transport: 'http',
      scope: 'Seeing.seeing',
      route: '/orders/:id',
      body: { a: 1 },
    });
    expect({ ...calls[0]!.query }).toEqual({ x: '1' });
  });
});
