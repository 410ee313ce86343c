import { Body, Controller, Post } from '@nestjs/common';
import { Idempotent } from 'nestjs-idempotent';
import { expectReplayOf, PLATFORMS, startApp, type TestApp } from '../support/http-app.js';

let ran = 0;

class Money {
  constructor(private readonly cents: number) {}

  toJSON() {
    return `${this.cents / 100} EUR`;
  }
}

const circular: { name: string; self?: unknown } = { name: 'circular' };
circular.self = circular;

const VALUES = {
  bigint: () => 10n ** 30n,
  'bigint in an object': () => ({ amount: 10n ** 30n }),
  date: () => ({ at: new Date(0) }),
  'a bare date': () => new Date(0),
  'an invalid date': () => ({ at: new Date(NaN) }),
  map: () => ({ amounts: new Map([['a', 1]]) }),
  set: () => ({ ids: new Set([1, 2]) }),
  circular: () => circular,
  'toJSON of a class': () => ({ amount: new Money(1250) }),
  'a throwing toJSON': () => ({
    toJSON() {
      throw new Error('cannot');
    },
  }),
  'a throwing getter': () => ({
    get amount() {
      throw new Error('cannot');
    },
  }),
  symbol: () => Symbol('s'),
  function: () => () => 1,
  'a function in an object': () => ({ f: () => 1, a: 1 }),
  NaN: () => NaN,
  infinity: () => ({ a: Infinity, b: -0 }),
  'typed array': () => new Uint8Array([1, 2, 255]),
  error: () => new Error('returned, not thrown'),
  'lone surrogate': () => ({ text: '\ud800' }),
  'key __proto__': () => JSON.parse('{"__proto__":{"a":1},"b":2}') as unknown,
  nested: () => Array.from({ length: 2_000 }).reduce((inner) => [inner], [] as unknown),
} satisfies Record<string, () => unknown>;

@Controller()
class Refunds {
  @Post('value') @Idempotent() value(@Body() { name }: { name: keyof typeof VALUES }): unknown {
    ran++;
    return VALUES[name]();
  }
  @Post('value-later') @Idempotent() async valueLater(
    @Body() { name }: { name: keyof typeof VALUES },
  ): Promise<unknown> {
    ran++;
    return VALUES[name]();
  }
}

beforeEach(() => {
  ran = 0;
});

describe.each(PLATFORMS)('%s', (platform) => {
  let app: TestApp;

  beforeAll(async () => {
    app = await startApp({ platform, controllers: [Refunds], module: { required: false } });
  });
  afterAll(() => app.close());

  it.each(Object.keys(VALUES))('G28 %s: as without a key, and never a second run', async (name) => {
    for (const path of ['/value', '/value-later']) {
      const untouched = await app.post(path, null, { name });
      ran = 0;
      const first = await app.post(path, name, { name });
      expect([first.status, first.text, first.headers.get('content-type')]).toEqual([
        untouched.status,
        untouched.text,
        untouched.headers.get('content-type'),
      ]);
      expectReplayOf(first, await app.post(path, name, { name }));
      expect(ran).toBe(1);
    }
  });
});
