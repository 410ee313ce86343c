import { Body, Controller, Param, Post, Query } from '@nestjs/common';
import { Idempotent, IdempotencyContext, IdempotencyCtx } from 'nestjs-idempotent';
import { STORES } from '../support/backends.js';
import { expectProblem, expectReplayOf, PLATFORMS, startApp, type TestApp } from '../support/http-app.js';

let ran = 0;
let lastKey = 0;

beforeEach(() => {
  ran = 0;
});

function newKey(): string {
  return `identity-${++lastKey}`;
}

@Controller()
class Refunds {
  @Post('refund') @Idempotent() refund(@Body() body: any, @IdempotencyCtx() { key }: IdempotencyContext) {
    return { ran: ++ran, key, body };
  }
  @Post('other') @Idempotent() other() {
    return { ran: ++ran };
  }
  @Post('shared-a') @Idempotent({ scope: 'shared', fingerprint: ({ body }) => body }) sharedA() {
    return { ran: ++ran, by: 'a' };
  }
  @Post('shared-b') @Idempotent({ scope: 'shared', fingerprint: ({ body }) => body }) sharedB() {
    return { ran: ++ran, by: 'b' };
  }
  @Post('shared-c') @Idempotent({ scope: 'shared' }) sharedC() {
    return { ran: ++ran, by: 'c' };
  }
  @Post('orders/:id/refunds') @Idempotent() ofOrder(@Param('id') id: string) {
    return { ran: ++ran, length: id.length };
  }
  @Post('searched') @Idempotent({ fingerprint: ({ query, body }) => [query, body] }) searched(
    @Query() query: unknown,
  ) {
    return { ran: ++ran, query };
  }
  @Post('mutating') @Idempotent() mutating(@Body() body: any) {
    body.amount = 0;
    body.lines.push('added');
    delete body.id;
    return { ran: ++ran };
  }
}

/** Another class, a method of the same name. */
@Controller('second')
class SecondRefunds {
  @Post('refund') @Idempotent() refund() {
    return { ran: ++ran };
  }
}

/** UTF-8 in a header, as the bytes that clients send. */
const bytes = (text: string) => Buffer.from(text).toString('latin1');

describe.each(STORES)('$name', ({ open }) => {
  describe.each(PLATFORMS)('%s', (platform) => {
    let app: TestApp;

    beforeAll(async () => {
      app = await startApp({
        platform,
        controllers: [Refunds, SecondRefunds],
        module: { store: await open(), lock: undefined as never },
      });
    });
    afterAll(() => app.close());

    /** Posts one after the other under one key: which of them ran? */
    async function runsOf(...requests: [path: string, body?: unknown, headers?: Record<string, string>][]) {
      const key = newKey();
      ran = 0;
      for (const [path, body, headers] of requests) {
        const answer = await app.post(path, key, body ?? {}, headers);
        expect([path, answer.status, answer.json?.code]).toEqual([path, 201, undefined]);
      }
      return ran;
    }

    it('G40 two principals with one key are strangers', async () => {
      expect(
        await runsOf(
          ['/refund', { a: 1 }, { 'x-customer': 'alice' }],
          ['/refund', { a: 1 }, { 'x-customer': 'bob' }],
          ['/refund', { a: 1 }, { 'x-customer': 'Alice' }],
          ['/refund', { a: 1 }, { 'x-customer': 'alice' }],
          ['/refund', { a: 1 }],
        ),
      ).toBe(4);
    });

    it('G40 what one principal sent is not shown to another, whatever the payload', async () => {
      const key = newKey();
      await app.post('/refund', key, { iban: 'DE02' }, { 'x-customer': 'alice' });
      const bobs = await app.post('/refund', key, { iban: 'DE99' }, { 'x-customer': 'bob' });
      expect([bobs.status, bobs.text.includes('DE02')]).toEqual([201, false]);
    });

    it('G41 two routes with one key are strangers, also those of one name in two classes', async () => {
      expect(await runsOf(['/refund'], ['/other'], ['/second/refund'], ['/refund'], ['/other'])).toBe(3);
    });

    it('G41 routes of one scope share their keys', async () => {
      const key = newKey();
      const first = await app.post('/shared-a', key, { a: 1 });
      expectReplayOf(first, await app.post('/shared-b', key, { a: 1 }));
      expect([first.json, ran]).toEqual([{ ran: 1, by: 'a' }, 1]);
      // Its fingerprint holds the route, as it does unless told otherwise.
      expectProblem(await app.post('/shared-c', key, { a: 1 }), 422, 'key-reused');
    });

    it('G41 parameters of the route are part of the payload', async () => {
      const key = newKey();
      expect((await app.post('/orders/1/refunds', key, {})).status).toBe(201);
      expectProblem(await app.post('/orders/2/refunds', key, {}), 422, 'key-reused');
    });

    it('G42 query, order of headers and of fields, and a new token are the same request', async () => {
      const key = newKey();
      const first = await app.post('/refund', key, { a: { x: 1, y: [1, { b: 2, c: 3 }] }, z: null });
      const variants: [string, unknown, Record<string, string>][] = [
        ['/refund?retry=2', { a: { x: 1, y: [1, { b: 2, c: 3 }] }, z: null }, {}],
        ['/refund', { z: null, a: { y: [1, { c: 3, b: 2 }], x: 1 } }, {}],
        ['/refund', '{ "z" : null,\n "a": {"y": [1.0, {"c": 3e0, "b": 2}], "x": 1} }', {}],
        [
          '/refund',
          { a: { x: 1, y: [1, { b: 2, c: 3 }] }, z: null },
          { authorization: 'Bearer new', 'user-agent': 'x' },
        ],
      ];
      for (const [path, body, headers] of variants)
        expectReplayOf(first, await app.post(path, key, body, headers));
      expect(ran).toBe(1);
    });

    it('G42 another order of a list, another type or a missing field is another request', async () => {
      const key = newKey();
      await app.post('/refund', key, { list: [1, 2], n: 1, none: null });
      for (const body of [
        { list: [2, 1], n: 1, none: null },
        { list: [1, 2], n: '1', none: null },
        { list: [1, 2], n: 1 },
        { list: [1, 2], n: 1, none: null, more: '' },
        [{ list: [1, 2], n: 1, none: null }],
      ]) {
        expectProblem(await app.post('/refund', key, body), 422, 'key-reused');
      }
      expect(ran).toBe(1);
    });

    it('G42 a fingerprint that looks at the query tells queries apart', async () => {
      const key = newKey();
      const first = await app.post('/searched?page=1', key, {});
      expectReplayOf(first, await app.post('/searched?page=1', key, {}));
      expectProblem(await app.post('/searched?page=2', key, {}), 422, 'key-reused');
    });

    it('G43 quoted and unquoted are one key', async () => {
      const key = newKey();
      const first = await app.postRaw('/refund', [`Idempotency-Key: ${key}`]);
      for (const same of [`"${key}"`, `  ${key}  `, `\t"${key}" `, `"${key}";v=1`, `"${key}"; a="x,y";b`]) {
        expectReplayOf(first, await app.postRaw('/refund', [`idempotency-key:${same}`]));
      }
      expect([first.json.key, ran]).toEqual([key, 1]);
    });

    it('G43 an escape in quotes is the character it stands for', async () => {
      const key = newKey();
      const first = await app.postRaw('/refund', [`Idempotency-Key: "${key}\\"\\\\"`]);
      expect(first.json.key).toBe(`${key}"\\`);
      expectReplayOf(first, await app.postRaw('/refund', [`Idempotency-Key: ${key}"\\`]));
    });

    it('G43 a comma is allowed within quotes', async () => {
      const key = newKey();
      expect((await app.postRaw('/refund', [`Idempotency-Key: "${key},1"`])).json.key).toBe(`${key},1`);
    });

    it('G43 keys that databases like to take for equal are different', async () => {
      const key = newKey();
      const keys = [
        ...[
          `${key}a`,
          `${key}A`,
          `${key}ä`,
          `${key}Ä`,
          `${key}a\u0308`,
          `${key}ß`,
          `${key}ss`,
          `${key}ı`,
          `${key}i`,
        ],
        ...[`${key}😀`, `${key}😁`, `${key}👩‍💻`, key, `${key}à`, `${key}Ã`, `${key}\\`, `${key}%`, `${key}_`],
        ...[
          `${key}a `,
          `${key}a  `,
          ` ${key}a`,
          `${key}a\u00a0`,
          `${key}\ufeffa`,
          `${key}\u200b`,
          `${key}.`,
          `${key}0`,
        ],
      ];
      for (const each of keys) {
        const answer = await app.postRaw('/refund', [
          `Idempotency-Key: "${bytes(each.replaceAll('\\', '\\\\'))}"`,
        ]);
        expect([answer.status, answer.json.key]).toEqual([201, each]);
      }
      expect(ran).toBe(keys.length);
    });

    it('G43 a key sent as Latin-1 is a key', async () => {
      const key = `${newKey()}é`;
      const first = await app.postRaw('/refund', [`Idempotency-Key: ${key}`]);
      expect(first.json.key).toBe(key);
      expectReplayOf(first, await app.postRaw('/refund', [`Idempotency-Key: ${key}`]));
    });

    it.each([
      ['ASCII', 'k'],
      ['umlauts', 'ü'],
      ['CJK', '漢'],
    ])('G43 255 characters of %s', async (_name, character) => {
      const key = newKey().padEnd(255, character);
      const first = await app.postRaw('/refund', [`Idempotency-Key: ${bytes(key)}`]);
      expect([first.status, first.json.key]).toEqual([201, key]);
      expectReplayOf(first, await app.postRaw('/refund', [`Idempotency-Key: ${bytes(key)}`]));
      expect((await app.postRaw('/refund', [`Idempotency-Key: ${bytes(key.slice(0, 254))}`])).status).toBe(
        201,
      );
      expectProblem(
        await app.postRaw('/refund', [`Idempotency-Key: ${bytes(`${key}x`)}`]),
        400,
        'key-invalid',
      );
      expect(ran).toBe(2);
    });

    it('G43 a path of 8 kB', async () => {
      const key = newKey();
      const path = `/orders/${'o'.repeat(platform === 'fastify' ? 100 : 8_000)}/refunds?${'q'.repeat(6_000)}`;
      const first = await app.post(path, key, {});
      expect(first.status).toBe(201);
      expectReplayOf(first, await app.post(path, key, {}));
    });

    it('G43 a principal of 8 kB', async () => {
      const customer = { 'x-customer': 'c'.repeat(8_000) };
      const key = newKey();
      const first = await app.post('/refund', key, {}, customer);
      expect(first.status).toBe(201);
      expectReplayOf(first, await app.post('/refund', key, {}, customer));
      await app.post('/refund', key, {}, { 'x-customer': 'c'.repeat(7_999) });
      expect(ran).toBe(2);
    });

    it('G44 the fingerprint is that of the body as it came', async () => {
      const key = newKey();
      const body = { id: 7, amount: 5, lines: ['one'] };
      const first = await app.post('/mutating', key, body);
      expectReplayOf(first, await app.post('/mutating', key, body));
      expectProblem(
        await app.post('/mutating', key, { amount: 0, lines: ['one', 'added'] }),
        422,
        'key-reused',
      );
      expect(ran).toBe(1);
    });

    it('G45 an equal body under another key is another request', async () => {
      const first = await app.post('/refund', newKey(), { tip: 5 });
      const second = await app.post('/refund', newKey(), { tip: 5 });
      expect([first.status, second.status, ran]).toEqual([201, 201, 2]);
    });
  });
});
