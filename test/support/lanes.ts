import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestRunner } from '../../lib/testing/index.js';

/** More at once, and the tests of a file wait for this process instead of for servers and clocks. */
const LANES_AT_ONCE = 4;
const TEST_LIMIT_MS = 30_000;
const HOOK_LIMIT_MS = 60_000;
const FILE_LIMIT_MS = 300_000;

type Run = () => Promise<unknown>;
type Outcome = 'passed' | { readonly error: unknown };

/** The functions of Jest, for tests that share a lane. */
export interface LaneRunner extends TestRunner {
  readonly it: (name: string, run: Run) => void;
  readonly beforeAll: (run: Run) => void;
  readonly afterAll: (run: Run) => void;
}

/**
 * Tests that run one after the other, at the same time as those of the other lanes of the file: for suites that
 * mostly wait, with databases or names of their own. All lanes run before the first test of any of them; then Jest's
 * tests tell what became of each, and try once more what failed.
 *
 * A lane needs no hooks outside of it, and its hooks are for all of its tests. With `-t` there are no lanes.
 */
export function lane(define: (runner: LaneRunner) => void): void {
  if (process.env.TEST_NAME_PATTERN) {
    define({ describe, it: (name, run) => it(name, () => tested(run)), beforeAll, afterAll });
    return;
  }
  const one = new Lane();
  lanes.push(one);
  beforeAll(runLanes, FILE_LIMIT_MS);
  define(one.runner);
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
  #cleanUp: Promise<Outcome> | undefined;

  readonly runner: LaneRunner = {
    describe,
    beforeAll: (run) => this.#befores.push(run),
    it: (name, run) => {
      const attempt = async () =>
        this.#begun === 'passed' ? outcomeOf(() => tested(run), TEST_LIMIT_MS) : this.#begun;
      let inLane: Outcome | undefined;
      this.#tests.push(async () => (inLane = await attempt()));
      it(name, async () => {
        const outcome = inLane ?? (await attempt());
        inLane = undefined;
        if (outcome !== 'passed') throw outcome.error;
      });
    },
    afterAll: (run) => {
      this.#afters.push(run);
      afterAll(async () => {
        const outcome = await this.#cleanedUp();
        if (outcome !== 'passed') throw outcome.error;
      }, HOOK_LIMIT_MS);
    },
  };

  /** Never rejects. */
  async run(): Promise<void> {
    this.#begun = await outcomeOf(() => inOrder(this.#befores), HOOK_LIMIT_MS);
    let failures = 0;
    for (const test of this.#tests) if ((await test()) !== 'passed') failures++;
    // What is to be tried again still needs it.
    if (failures === 0) await this.#cleanedUp();
  }

  #cleanedUp(): Promise<Outcome> {
    return (this.#cleanUp ??= outcomeOf(() => inOrder(this.#afters), HOOK_LIMIT_MS));
  }
}

const lanes: Lane[] = [];

/** Those that have not been run. */
async function runLanes(): Promise<void> {
  const next = async () => {
    for (let one; (one = lanes.shift());) await one.run();
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

async function outcomeOf(run: Run, limitMs: number): Promise<Outcome> {
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
