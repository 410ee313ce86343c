/**
 * The functions of a test runner that a suite needs. What Jest and Vitest have as globals fits, and so does
 * `import * as runner from 'node:test'`.
 */
export interface TestRunner {
  readonly describe: (name: string, define: () => void) => unknown;
  readonly it: (name: string, run: () => Promise<void>) => unknown;
  /** Jest, Vitest. */
  readonly beforeAll?: (run: () => Promise<void>) => unknown;
  readonly afterAll?: (run: () => Promise<void>) => unknown;
  /** node:test. */
  readonly before?: (run: () => Promise<void>) => unknown;
  readonly after?: (run: () => Promise<void>) => unknown;
}

/**
 * Makes what a suite is about before its tests and ends it after them.
 *
 * @returns gives what was made, to tests and to nobody earlier.
 * @throws TypeError when the runner lacks a function.
 */
export function lifecycle<T>(
  runner: TestRunner,
  create: () => Promise<T>,
  cleanUp: (made: T) => Promise<unknown>,
): () => T {
  const before = runner.beforeAll ?? runner.before;
  const after = runner.afterAll ?? runner.after;
  if (!before || !after) {
    throw new TypeError(
      'The test runner has no beforeAll/afterAll (or before/after); hand over { describe, it, beforeAll, afterAll } ' +
        "of Jest or Vitest, or all of node:test: import * as runner from 'node:test'",
    );
  }
  let made: { readonly value: T } | undefined;
  before(async () => {
    made = { value: await create() };
  });
  after(async () => {
    if (made) await cleanUp(made.value);
  });
  return () => {
    if (!made) throw new Error('asked for before the tests began');
    return made.value;
  };
}

/** Stands for an object that is there only once the tests run. */
export function later<T extends object>(find: () => T): T {
  return new Proxy({} as T, {
    get(_, property) {
      const target = find();
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
