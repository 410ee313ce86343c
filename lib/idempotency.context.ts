import { hash } from 'node:crypto';
import type { Ownership } from './engine/ownership.js';
import { inStepTransaction } from './engine/step-transaction.js';
import { Steps } from './engine/steps.js';
import { StepError } from './idempotency.errors.js';
import { frames } from './idempotency.frame.js';
import type { ResultStore } from './stores/result-store.js';
import type { StoreTransaction, TransactionManager } from './stores/store-transactions.js';

/** What a handler may know and do about its own call. */
export class IdempotencyContext {
  private madeSteps: Steps | undefined;
  private current: StoreTransaction | undefined;

  /** @internal */
  constructor(
    private readonly identity: { readonly id: string; readonly key: string } | null,
    private readonly ownership: Ownership | null,
    private readonly store?: ResultStore,
  ) {}

  /** The context of the call that is being handled, anywhere below the handler; undefined outside of one. */
  static current(): IdempotencyContext | undefined {
    return frames.getStore()?.context;
  }

  /** The key, as the caller or the template gave it; undefined for a call without one. */
  get key(): string | undefined {
    return this.identity?.key;
  }

  /** False: nothing keeps this call from running twice (`required: false` without a key, or `onUnavailable: 'run'`). */
  get isProtected(): boolean {
    return this.ownership !== null;
  }

  /** 1 for the first run under this key, more when an earlier one was released or died. */
  get attempt(): number {
    return this.ownership?.attempt ?? 1;
  }

  /** Grows with every new owner of the key. Send it along with writes; let the resource refuse smaller ones. */
  get fence(): bigint {
    return this.ownership?.fence ?? 0n;
  }

  /** Aborts when ownership is lost. Never aborts in an unprotected call. */
  get signal(): AbortSignal {
    return this.ownership?.signal ?? NEVER_ABORTS;
  }

  /**
   * To be called right before an effect that cannot be taken back: it looks at the clocks, while `signal`
   * needs a timer to fire.
   *
   * @throws IdempotencyError `lease-lost` when ownership is lost.
   */
  assertHeld(): void {
    this.ownership?.assertHeld();
  }

  /** Whether the handler runs in a transaction: whether there is a `manager`. */
  get isTransactional(): boolean {
    return this.current !== undefined;
  }

  /**
   * The `EntityManager` of the handler's transaction, on a route that is `transactional`. What is written with it is
   * committed together with the answer, or not at all.
   *
   * @throws Error on any other route.
   * @throws StepError inside of a step: the step would be recorded, but what it wrote might be rolled back.
   */
  get manager(): TransactionManager {
    if (!this.current)
      throw new Error(
        'ctx.manager: this call has no transaction; set transactional: true, or use ctx.transaction(name, work)',
      );
    const step = this.madeSteps?.current;
    if (step === undefined) return this.current.manager;
    throw new StepError(
      `ctx.manager inside of step "${step}": the step stays recorded also when the transaction is rolled back; ` +
        'write to the database outside of it',
    );
  }

  /**
   * A recovery point: `work` is done at most once per recorded success. On a later attempt (after a crash, or an error
   * that released the key) its recorded result is returned instead, in whatever process.
   *
   * The result is what JSON makes of it, on the first attempt as well. Steps may run at the same time as long as they are
   * called in the same order on every attempt; one that failed may be tried again under its name.
   *
   * Between the end of `work` and its being recorded the process may die: then `work` is done again. Where that must
   * not be, give the downstream call `deriveKey(name)`, or use `transaction`.
   *
   * @param name at most 128 characters; one a call.
   * @throws StepError when the name is used twice, steps come in another order than before, or the result is not JSON.
   * @throws StepNotRecordedError when `work` was done but the store could not be told.
   * @throws IdempotencyError `lease-lost` when ownership is lost: nothing was recorded.
   */
  async step<T>(name: string, work: () => T | Promise<T>): Promise<T> {
    if (this.current && this.store?.transactions?.isParallel === false) {
      throw new StepError(
        `Step "${name}" inside of a transactional handler: the database has one connection, which is in the ` +
          'transaction, so the step could not be recorded by itself. Leave out transactional and use ctx.transaction',
      );
    }
    return this.steps.pass(name, work);
  }

  /**
   * A step whose database writes commit together with the step's row: after a crash both are there, or neither, and a
   * step that is there is never done again. `work` may run again when the database rolled it back in favour of others.
   *
   * @param work is given the transaction's `EntityManager`.
   * @throws as `step`; IdempotencyError `unavailable`, `transaction-conflict`, `transaction-failed`: nothing was written.
   */
  async transaction<T>(name: string, work: (manager: TransactionManager) => Promise<T> | T): Promise<T> {
    const { store, ownership } = this;
    if (this.current) {
      throw new StepError(
        `ctx.transaction("${name}") inside of a transactional handler: all of it is one transaction; use ctx.manager`,
      );
    }
    const transactions = store?.transactions;
    if (!transactions) {
      throw new StepError(
        `ctx.transaction("${name}"): the store "${store?.name}" is not in a database the handler could write to; ` +
          'use typeOrmStore, or ctx.step',
      );
    }
    const beginWithinMs = ownership?.policy.backendTimeoutMs ?? BEGIN_WITHIN_MS;
    return this.steps.passBy<T>(name, (record) =>
      inStepTransaction({ transactions, beginWithinMs }, ownership, work, record),
    );
  }

  /**
   * A key for a downstream call: the same on every attempt, another one for every record and name.
   *
   * @returns 64 hex digits, fit for a provider's own `Idempotency-Key`.
   * @throws Error in a call without a key.
   */
  deriveKey(name: string): string {
    if (!this.identity)
      throw new Error(`deriveKey("${name}"): this call has no idempotency key to derive from`);
    return hash('sha256', `${this.identity.id}|${name}`);
  }

  /** @internal The body begins, maybe again. */
  bodyBegins(transaction?: StoreTransaction): void {
    this.current = transaction;
    this.madeSteps?.restart();
  }

  private get steps(): Steps {
    return (this.madeSteps ??= new Steps(this.ownership));
  }
}

/** For the connection of a transaction of an unprotected call, in milliseconds. */
const BEGIN_WITHIN_MS = 2_000;
const NEVER_ABORTS = new AbortController().signal;
