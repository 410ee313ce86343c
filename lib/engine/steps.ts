import { AsyncLocalStorage } from 'node:async_hooks';
import { StepError, StepNotRecordedError } from '../idempotency.errors.js';
import type { StepRecord, StoredStep } from '../stores/step-store.js';
import { BackendUnavailableError } from './backend.js';
import type { Ownership } from './ownership.js';
import { decodeResult, encodeLost, encodeResult } from './step-result.js';

const LONGEST_NAME = 128;

/** The step whose work is being done, and whose step it is: below it there may be calls with steps of their own. */
const inside = new AsyncLocalStorage<{ readonly of: Steps; readonly name: string }>();

/** Does the work of a step, and keeps its result in the way that goes with it. */
export type StepWay<T> = (record: (value: T) => StepRecord) => Promise<void>;

/**
 * The steps of one call: recovery points, each of which is passed once over all attempts.
 *
 * A step is known by its name and by its place among the steps of the call, which it takes when it is called. So
 * steps may run at the same time as long as they are called in the same order on every attempt.
 */
export class Steps {
  private recorded: Promise<Map<string, Pick<StoredStep, 'position' | 'result'>>> | undefined;
  private readonly called = new Map<string, { readonly position: number; hasFailed: boolean }>();

  /** @param ownership null: the call is unprotected, nothing is recorded. */
  constructor(private readonly ownership: Ownership | null) {}

  /** The name of the step whose work this is called from. */
  get current(): string | undefined {
    const step = inside.getStore();
    return step?.of === this ? step.name : undefined;
  }

  /** The handler's body begins again, within the same attempt. */
  restart(): void {
    this.called.clear();
  }

  /**
   * Does `work` unless it was done before, and records its result.
   *
   * @returns the result as JSON gives it back: the same on this attempt as on a later one.
   * @throws StepError when the name is wrong or used twice, the order is another one than before, the step is inside
   * of another one, or its result is not JSON.
   * @throws IdempotencyError `lease-lost`: then nothing was recorded.
   */
  async pass<T>(name: string, work: () => T | Promise<T>): Promise<T> {
    return this.passBy(name, async (record) => {
      await this.keep(record(await work()));
    });
  }

  /** Likewise; `way` records the step by itself, and throws when it could not. */
  async passBy<T>(name: string, way: StepWay<T>): Promise<T> {
    const call = this.take(name);
    const recorded = await this.known();
    this.checkOrder(name, call.position, recorded);
    const before = recorded.get(name);
    if (before) return resultOf(name, before.result) as T;
    this.ownership?.assertHeld();
    let step: StepRecord | undefined;
    try {
      await inside.run({ of: this, name }, () =>
        way((value) => (step = recordOf(name, call.position, value))),
      );
    } catch (error) {
      call.hasFailed = true;
      throw error;
    }
    recorded.set(name, step!);
    return resultOf(name, step!.result) as T;
  }

  private take(name: string): { readonly position: number; hasFailed: boolean } {
    checkName(name);
    const outer = this.current;
    if (outer !== undefined)
      throw new StepError(`Step "${name}" was called inside of step "${outer}"; call one after the other`);
    const earlier = this.called.get(name);
    if (!earlier) {
      const call = { position: this.called.size, hasFailed: false };
      this.called.set(name, call);
      return call;
    }
    if (!earlier.hasFailed) {
      throw new StepError(
        `Step "${name}" was called twice in one attempt: it is already step ${earlier.position + 1} of this call, ` +
          `and would be step ${this.called.size + 1}; give each step a name of its own`,
      );
    }
    earlier.hasFailed = false;
    return earlier;
  }

  private checkOrder(
    name: string,
    position: number,
    recorded: ReadonlyMap<string, { position: number }>,
  ): void {
    const mine = recorded.get(name);
    const there = [...recorded].find(([, step]) => step.position === position)?.[0];
    if (mine ? mine.position === position : there === undefined) return;
    const was = mine ? `it was step ${mine.position + 1}` : `that was "${there}"`;
    throw new StepError(
      `Steps came in another order than on an earlier attempt: step ${position + 1} is "${name}" now, but ${was}` +
        (mine && there !== undefined ? `, and step ${position + 1} was "${there}"` : '') +
        '; what was done cannot be told from what was not. Keep the order of steps while calls are under way',
    );
  }

  private known(): NonNullable<Steps['recorded']> {
    const { ownership } = this;
    this.recorded ??= (ownership?.steps() ?? Promise.resolve([])).then(
      (steps) => new Map(steps.map((step) => [step.name, step])),
    );
    // Asked again by the next one.
    this.recorded.catch(() => (this.recorded = undefined));
    return this.recorded;
  }

  private async keep(step: StepRecord): Promise<void> {
    if (!this.ownership) return;
    try {
      await this.ownership.recordStep(step);
    } catch (cause) {
      if (!(cause instanceof BackendUnavailableError)) throw cause;
      throw new StepNotRecordedError(
        `Step "${step.name}" was done, but could not be recorded: ${cause.message}`,
        { cause },
      );
    }
  }
}

function recordOf(name: string, position: number, value: unknown): StepRecord {
  try {
    return { name, position, result: encodeResult(value) };
  } catch (error) {
    // Done is done: a later attempt is told the same and does not do it again.
    return { name, position, result: encodeLost((error as Error).message) };
  }
}

function resultOf(name: string, json: string): unknown {
  const result = decodeResult(json);
  if ('value' in result) return result.value;
  throw new StepError(`Step "${name}" was done, but its result cannot be kept: ${result.lost}`);
}

function checkName(name: unknown): void {
  const isName =
    typeof name === 'string' && name !== '' && name.length <= LONGEST_NAME && name.trim() === name;
  if (isName) return;
  throw new StepError(
    `A step is named ${typeof name === 'string' ? JSON.stringify(name) : `by a ${typeof name}`}; the name must be ` +
      `a text of 1 to ${LONGEST_NAME} characters without white space at its ends`,
  );
}
