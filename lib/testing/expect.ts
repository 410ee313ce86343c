import { AssertionError } from 'node:assert';

type Matches = (actual: unknown) => boolean;

/** The expectations of the suites: few, and of no test runner. Failing, they throw an `AssertionError`. */
export interface Expectation {
  toBe(expected: unknown): void;
  toBeNull(): void;
  /** The same data, whatever its classes; undefined properties count as missing. */
  toEqual(expected: unknown): void;
  /** At least these properties; lists of the same length. */
  toMatchObject(expected: object): void;
  toContain(expected: unknown): void;
  /** A list with all of these, in whatever order. */
  toContainAll(expected: readonly unknown[]): void;
  toHaveLength(expected: number): void;
  toBeGreaterThan(least: number | bigint): void;
  toBeGreaterThanOrEqual(least: number | bigint): void;
  toBeLessThan(most: number | bigint): void;
  toBeLessThanOrEqual(most: number | bigint): void;
}

/** Stands for any number in expected data. */
export const ANY_NUMBER = Symbol('any number');

export function expect(actual: unknown): Expectation & { readonly not: Pick<Expectation, 'toContain'> } {
  const check = (what: string, expected: unknown, matches: Matches) => {
    if (matches(actual)) return;
    throw new AssertionError({ actual, expected, operator: what, stackStartFn: expect });
  };
  const than = (what: string, limit: number | bigint, matches: (value: number | bigint) => boolean) =>
    check(what, limit, (value) => (typeof value === 'number' || typeof value === 'bigint') && matches(value));
  const has = (value: unknown) => (list: unknown) => (list as unknown[]).includes(value);
  return {
    toBe: (expected) => check('toBe', expected, (value) => Object.is(value, expected)),
    toBeNull: () => check('toBeNull', null, (value) => value === null),
    toEqual: (expected) => check('toEqual', expected, (value) => equals(value, expected, false)),
    toMatchObject: (expected) => check('toMatchObject', expected, (value) => equals(value, expected, true)),
    toContain: (expected) => check('toContain', expected, has(expected)),
    toContainAll: (expected) =>
      check('toContainAll', expected, (value) => expected.every((item) => has(item)(value))),
    toHaveLength: (expected) =>
      check('toHaveLength', expected, (value) => (value as unknown[]).length === expected),
    toBeGreaterThan: (least) => than('toBeGreaterThan', least, (value) => value > least),
    toBeGreaterThanOrEqual: (least) => than('toBeGreaterThanOrEqual', least, (value) => value >= least),
    toBeLessThan: (most) => than('toBeLessThan', most, (value) => value < most),
    toBeLessThanOrEqual: (most) => than('toBeLessThanOrEqual', most, (value) => value <= most),
    not: { toContain: (expected) => check('not.toContain', expected, (value) => !has(expected)(value)) },
  };
}

/** Waits for a rejection whose message contains the text. */
export async function expectRejection(promise: Promise<unknown>, message: string): Promise<void> {
  const failure: unknown = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (failure instanceof Error && failure.message.includes(message)) return;
  throw new AssertionError({ actual: failure, expected: message, operator: 'rejects with' });
}

function equals(actual: unknown, expected: unknown, isPartial: boolean): boolean {
  if (expected === ANY_NUMBER) return typeof actual === 'number';
  if (typeof expected !== 'object' || expected === null) return Object.is(actual, expected);
  if (typeof actual !== 'object' || actual === null) return false;
  if (expected instanceof Uint8Array) return ArrayBuffer.isView(actual) && sameBytes(actual, expected);
  if (expected instanceof Date) return actual instanceof Date && actual.getTime() === expected.getTime();
  if (Array.isArray(actual) !== Array.isArray(expected)) return false;
  if (Array.isArray(expected)) {
    return (
      Array.isArray(actual) &&
      actual.length === expected.length &&
      expected.every((item, i) => equals(actual[i], item, isPartial))
    );
  }
  const names = new Set([...Object.keys(expected), ...(isPartial ? [] : Object.keys(actual))]);
  const value = (of: object, name: string) => (of as Record<string, unknown>)[name];
  return [...names].every((name) => equals(value(actual, name), value(expected, name), isPartial));
}

function sameBytes(actual: ArrayBufferView, expected: Uint8Array): boolean {
  const { buffer, byteOffset, byteLength } = actual;
  return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength).equals(expected);
}
