import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

/** More at once, and the tests of a file wait for this process instead of for servers and clocks. */
const LANES_AT_ONCE = 4;
const TEST_LIMIT_MS = 30_000;
const HOOK_LIMIT_MS = 60_000;
const FILE_LIMIT_MS = 300_000;

type Run = () => unknown;
type Outcome = 'passed' | { readonly error: unknown };

/**
 * Tests that run one after the other, at the same time as those of the other lanes of the file: for what mostly
 * waits and has databases or names of its own. All lanes run before the first test of any of them; then Jest's tests
 * tell what became of each, and try once more what failed.
 *
 * The tests and hooks of a lane are made by `it`, `beforeAll` and `afterAll` of this file. Its hooks are for all of
 * its tests, and it needs none from outside; what a test opens is closed by `atEnd`. With `-t` there are no lanes.
 */
export function inLane(define: () => void): void {
  // The tests that are not asked for would run, too.
  if (process.env.TEST_NAME_PATTERN) return define();
  globalThis.beforeAll(runLanes, FILE_LIMIT_MS);
  current = new Lane();
  define();
  current = undefined;
}

/** `describe`, with every test in a lane of its own. It has no hooks. */
export function apart(name: string, define: () => void): void {
  describe(name, () => {
    isApart = true;
    inLane(define);
    isApart = false;
  });
}

/** `describe`, in a lane. */
export const lane = Object.assign(
  (name: string, define: () => void) => describe(name, () => inLane(define)),
  {
    each:
      <T>(table: readonly T[]) =>
      (name: string, define: (row: T) => void) =>
        describe.each(table)(name, (row) => inLane(() => define(row))),
  },
);

export const it = Object.assign(
  (name: string, run: Run, limitMs = TEST_LIMIT_MS) =>
    globalThis.it(name, current ? current.test(run, limitMs) : async () => void (await run()), limitMs),
  {
    each: ((table: readonly unknown[]) => (name: string, run: (...row: unknown[]) => unknown) => {
      if (!current)
        return globalThis.it.each(table)(name, async (...row: unknown[]) => void (await run(...row)));
      const here = current;
      const rows = table.map((row) => (Array.isArray(row) ? row : [row]) as unknown[]);
      const tests = rows.map((row) => here.test(() => run(...row), TEST_LIMIT_MS));
      const same = (args: unknown[]) => (row: unknown[]) => row.every((value, at) => value === args[at]);
      globalThis.it.each(table)(name, (...args: unknown[]) => tests[rows.findIndex(same(args))]!());
    }) as jest.Each,
  },
);

export function beforeAll(run: Run): void {
  if (current) current.before(run);
  else globalThis.beforeAll(async () => void (await run()));
}

export function afterAll(run: Run): void {
  const here = current;
  here?.after(run);
  globalThis.afterAll(async () => void (await (here ? here.end() : run())), HOOK_LIMIT_MS);
}

/** Undoes what the test at hand does, when it is over; the last comes first. */
export function atEnd(undo: Run): void {
  (undoings.getStore() ?? undoingsOfJest).push(undo);
}

class Lane {
  readonly #befores: Run[] = [];
  readonly #tests: (() => Promise<Outcome>)[] = [];
  readonly #afters: Run[] = [];
  #begun: Outcome = 'passed';
  #ended: Promise<Outcome> | undefined;

  constructor() {
    lanes.push(this);
  }

  before(run: Run): void {
    this.#befores.push(run);
  }

  after(run: Run): void {
    this.#afters.push(run);
  }

  /** Gives what Jest calls: once, and again when that failed. */
  test(run: Run, limitMs: number): () => Promise<void> {
    if (isApart && this.#tests.length > 0) return new Lane().test(run, limitMs);
    const attempt = async () =>
      this.#begun === 'passed' ? outcomeOf(() => tested(run), limitMs) : this.#begun;
    let inLane: Outcome | undefined;
    this.#tests.push(async () => (inLane = await attempt()));
    return async () => {
      const outcome = inLane ?? (await attempt());
      inLane = undefined;
      passOn(outcome);
    };
  }

  /** Never rejects. */
  async run(): Promise<void> {
    this.#begun = await outcomeOf(() => inOrder(this.#befores), HOOK_LIMIT_MS);
    let failures = 0;
    for (const test of this.#tests) if ((await test()) !== 'passed') failures++;
    // What is to be tried again still needs it.
    if (failures === 0) await this.#end();
  }

  async end(): Promise<void> {
    passOn(await this.#end());
  }

  #end(): Promise<Outcome> {
    return (this.#ended ??= outcomeOf(() => inOrder(this.#afters), HOOK_LIMIT_MS));
  }
}

/** The lane that is being defined. */
let current: Lane | undefined;
let isApart = false;
/** Those that have not been run. */
const lanes: Lane[] = [];

async function runLanes(): Promise<void> {
  const next = async () => {
    for (let one = lanes.shift(); one; one = lanes.shift()) await one.run();
  };
  await Promise.all(Array.from({ length: LANES_AT_ONCE }, next));
}

const undoings = new AsyncLocalStorage<Run[]>();
/** Of the test that Jest runs by itself. */
const undoingsOfJest: Run[] = [];

afterEach(() => inOrder(undoingsOfJest.splice(0).toReversed()));

async function tested(run: Run): Promise<void> {
  const undo: Run[] = [];
  try {
    await undoings.run(undo, run);
  } finally {
    await inOrder(undo.toReversed());
  }
}

async function inOrder(runs: readonly Run[]): Promise<void> {
  for (const run of runs) await run();
}

function passOn(outcome: Outcome): void {
  if (outcome !== 'passed') throw outcome.error;
}

async function outcomeOf(run: () => Promise<unknown>, limitMs: number): Promise<Outcome> {
  const over = new AbortController();
  const late = sleep(limitMs, undefined, { signal: over.signal }).then(
    () => ({ error: new Error(`not over within ${limitMs} ms`) }),
    () => 'passed' as const,
  );
  const ended = run().then(
    () => 'passed' as const,
    (error: unknown) => ({ error }),
  );
  const outcome = await Promise.race([ended, late]);
  over.abort();
  return outcome;
}
