import { ANY_NUMBER, expect as expected, expectRejection } from '../../lib/testing/expect.js';
import { later, lifecycle } from '../../lib/testing/test-runner.js';

const holds = (check: () => void) => {
  try {
    check();
    return true;
  } catch (error) {
    expect((error as Error).name).toBe('AssertionError');
    return false;
  }
};

it('expectations of the suites fail where those of Jest would', () => {
  class Row {
    a = 1;
  }
  const equal: [unknown, unknown, boolean][] = [
    [{ a: 1 }, { a: 1 }, true],
    [new Row(), { a: 1 }, true],
    [{ a: 1, b: undefined }, { a: 1 }, true],
    [{ a: 1, b: 2 }, { a: 1 }, false],
    [{ a: 1 }, { a: 1, b: 2 }, false],
    [{ a: 1 }, { a: ANY_NUMBER }, true],
    [{ a: '1' }, { a: ANY_NUMBER }, false],
    [[1, 2], [1, 2], true],
    [[1, 2, 3], [1, 2], false],
    [[1], { 0: 1, length: 1 }, false],
    [[true, null], [true, false], false],
    [new Date(1), new Date(1), true],
    [new Date(1), new Date(2), false],
    [null, {}, false],
    [{}, null, false],
    [1n, 1, false],
    [Buffer.from('ab'), Uint8Array.from([97, 98]), true],
    [Buffer.from('ab'), Buffer.from('ac'), false],
    ['ab', Buffer.from('ab'), false],
  ];
  for (const [actual, wanted, isEqual] of equal)
    expect([actual, wanted, holds(() => expected(actual).toEqual(wanted))]).toEqual([
      actual,
      wanted,
      isEqual,
    ]);
  expect(holds(() => expected({ a: { b: 1, c: 2 }, d: 3 }).toMatchObject({ a: { b: 1 } }))).toBe(true);
  expect(holds(() => expected({ a: { b: 1 } }).toMatchObject({ a: { b: 2 } }))).toBe(false);
  expect(holds(() => expected([{ a: 1 }, { a: 2 }]).toMatchObject([{ a: 1 }]))).toBe(false);
  expect(holds(() => expected(NaN).toBe(NaN))).toBe(true);
  expect(holds(() => expected({}).toBe({}))).toBe(false);
  expect(holds(() => expected(undefined).toBeNull())).toBe(false);
  expect(holds(() => expected(2n).toBeGreaterThan(1n))).toBe(true);
  expect(holds(() => expected(1).toBeGreaterThan(1))).toBe(false);
  expect(holds(() => expected('2').toBeGreaterThan(1))).toBe(false);
  expect(holds(() => expected(1).toBeGreaterThanOrEqual(1))).toBe(true);
  expect(holds(() => expected(0).toBeGreaterThanOrEqual(1))).toBe(false);
  expect(holds(() => expected(1).toBeLessThan(1))).toBe(false);
  expect(holds(() => expected(1).toBeLessThanOrEqual(1))).toBe(true);
  expect(holds(() => expected(2).toBeLessThanOrEqual(1))).toBe(false);
  expect(holds(() => expected([1, 2]).toContain(3))).toBe(false);
  expect(holds(() => expected([1, 2]).not.toContain(2))).toBe(false);
  expect(holds(() => expected([2, 1, 3]).toContainAll([1, 2]))).toBe(true);
  expect(holds(() => expected([1]).toContainAll([1, 2]))).toBe(false);
  expect(holds(() => expected([1]).toHaveLength(2))).toBe(false);
});

it('a rejection with other words, or none, is a failure', async () => {
  await expectRejection(Promise.reject(new Error('no such page')), 'such');
  for (const promise of [Promise.reject(new Error('other')), Promise.resolve('no such page')])
    await expect(expectRejection(promise, 'such')).rejects.toThrow('rejects with');
});

it('a runner without its functions is refused with what to hand over', () => {
  const runner = { describe: () => undefined, it: () => undefined };
  const make = () =>
    lifecycle(
      runner,
      async () => 1,
      async () => undefined,
    );
  expect(make).toThrow('hand over { describe, it, beforeAll, afterAll }');
});

it('what is not made yet is not used by accident', () => {
  const hooks: (() => Promise<void>)[] = [];
  const hook = (run: () => Promise<void>) => hooks.push(run);
  const runner = { describe: () => undefined, it: () => undefined, before: hook, after: hook };
  const made = later(
    lifecycle(
      runner,
      async () => ({ a: 1 }),
      async () => undefined,
    ),
  );
  expect(() => made.a).toThrow('before the tests began');
  expect(hooks).toHaveLength(2);
});
