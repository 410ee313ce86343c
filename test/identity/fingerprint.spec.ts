import fc from 'fast-check';
import { fingerprintOf } from '../../lib/identity/fingerprint.js';

const same = (a: unknown, b: unknown) => fingerprintOf(a) === fingerprintOf(b);

function shuffled(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shuffled);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .map(([name, field]) => [name, shuffled(field)])
      .toReversed(),
  );
}

describe('fingerprint', () => {
  it('G42 of equal JSON is equal, whatever the order of fields', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(fingerprintOf(value)).toMatch(/^[0-9a-f]{64}$/);
        expect(same(value, shuffled(value))).toBe(true);
        expect(same(value, JSON.parse(JSON.stringify(value)))).toBe(true);
      }),
    );
  });

  it('of JSON that differs differs', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        expect(same(a, b)).toBe(JSON.stringify(sorted(a)) === JSON.stringify(sorted(b)));
      }),
      { numRuns: 1_000, examples: [[{}, []]] },
    );
  });

  it('tells apart what looks alike', () => {
    const date = new Date(0);
    const values: unknown[] = [
      ...[
        0,
        '0',
        0n,
        '0n',
        false,
        'false',
        null,
        'null',
        undefined,
        '',
        [],
        {},
        [[]],
        [{}],
        [null],
        [undefined],
        [0, 0],
      ],
      ...[
        date,
        Number(date) + 1,
        'date 0',
        [date],
        new Map(),
        new Set(),
        new Map([[1, 2]]),
        new Set([[1, 2]]),
        [[1, 2]],
      ],
      ...[
        new Uint8Array([1]),
        new Uint8Array([1, 0]),
        Buffer.from('a'),
        'a',
        { a: 1 },
        { a: '1' },
        { 'a:1': null },
      ],
      ...[
        { a: { b: 1 } },
        { a: {}, b: 1 },
        { a: [1, 2] },
        { a: [1], b: 2 },
        ['a', 'b'],
        ['a,b'],
        ['a"', 'b'],
        ['a', '"b'],
      ],
      ...[
        [new Map([[1, 2]]), [3, 4]],
        [
          new Map([
            [1, 2],
            [3, 4],
          ]),
        ],
        NaN,
        Infinity,
        -Infinity,
        1e21,
        1e-7,
        0.1,
      ],
      ...[JSON.parse('{"__proto__":1}'), { constructor: 1 }, '\ud800', '\ud801', '\ufffd', 'é', 'e\u0301'],
    ];
    const prints = values.map(fingerprintOf);
    for (const [i, print] of prints.entries()) expect([i, prints.indexOf(print)]).toEqual([i, i]);
  });

  it.each<[string, unknown, unknown]>([
    ['fields that are undefined are not there', { a: 1, b: undefined }, { a: 1 }],
    ['-0 is 0', [-0], [0]],
    [
      'an instance is its data',
      Object.assign(
        new (class Money {
          cents = 0;
        })(),
        { cents: 1 },
      ),
      { cents: 1 },
    ],
    ['toJSON speaks for its object', { toJSON: () => ({ a: 1 }) }, { toJSON: () => ({ a: 1 }), other: 2 }],
    ['a Buffer is its bytes', Buffer.from([1, 2]), new Uint8Array([0, 1, 2, 3]).subarray(1, 3)],
    ['a shared object is what it is twice', Array(2).fill({ a: 1 }), [{ a: 1 }, { a: 1 }]],
    ['no body is none', undefined, undefined],
  ])('%s', (_name, a, b) => {
    expect(same(a, b)).toBe(true);
  });

  it('survives circular data', () => {
    const ring = (name: string) => {
      const a: any = { name };
      a.self = a;
      a.list = [a, { a }];
      return a;
    };
    expect(same(ring('x'), ring('x'))).toBe(true);
    expect(same(ring('x'), ring('y'))).toBe(false);
    const deeper: any = { name: 'x', self: ring('x'), list: [] };
    expect(same(ring('x'), deeper)).toBe(false);
  });

  it('survives any depth', () => {
    const nested = (depth: number) =>
      JSON.parse(`${'[{"a":'.repeat(depth)}1${'}]'.repeat(depth)}`) as unknown;
    expect(same(nested(20_000), nested(20_000))).toBe(true);
    expect(same(nested(20_000), nested(20_001))).toBe(false);
  });

  it('refuses a web of objects and says what to do', () => {
    let web: object = {};
    for (let i = 0; i < 60; i++) web = { left: web, right: web };
    expect(() => fingerprintOf(web)).toThrow('select what must not change between retries: { fingerprint:');
  });

  it('stays what it is from version to version', () => {
    // SHA-256 of ["/refund",{},{"amount":5,"at":null}]
    expect(fingerprintOf(['/refund', {}, { at: null, amount: 5 }])).toBe(
      'b455de4212b61fc447c80379a5ac0541271759fc5e895b6af637ee75b0b56726',
    );
  });
});

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return Object.is(value, -0) ? 0 : value;
  const entries = Object.entries(value).map(([name, field]): [string, unknown] => [name, sorted(field)]);
  return { object: entries.toSorted(([a], [b]) => (a < b ? -1 : 1)) };
}
