import { AsyncLocalStorage } from 'node:async_hooks';
import { isObservable, type Observable, ReplaySubject } from 'rxjs';
import type { TransactionRun } from './engine/transaction-run.js';
import type { IdempotencyContext } from './idempotency.context.js';

/** How a handler's body ended. */
export type Outcome = { readonly value: unknown } | { readonly error: unknown };

/**
 * One call on its way through the handler. The interceptor makes it, the decorated method finds it: that is
 * how it is known exactly when the body began and how it ended, also after somebody stopped waiting for it.
 */
export class CallFrame {
  began = false;
  outcome: Outcome | undefined;
  private readonly listeners: ((outcome: Outcome) => void)[] = [];

  /**
   * @param target the decorated method this frame is for; others called below it are calls of their own.
   * @param stored outcome of an earlier run, answered in place of running the body.
   * @param transaction what the body is run in.
   */
  constructor(
    readonly target: Function,
    readonly context: IdempotencyContext,
    private readonly stored?: Outcome,
    readonly transaction?: TransactionRun,
  ) {}

  /** Calls `listener` when the body has ended, at once if it has already. */
  whenEnded(listener: (outcome: Outcome) => void): void {
    if (this.outcome) listener(this.outcome);
    else this.listeners.push(listener);
  }

  /** Whether a call of the target is this one: its first, or another try of an interceptor (`retry`) after it failed. */
  get isOpen(): boolean {
    return !this.began || (this.outcome !== undefined && 'error' in this.outcome);
  }

  /** Whether it is answered by the outcome of an earlier run: its body does not run. */
  get isReplay(): boolean {
    return this.stored !== undefined;
  }

  /** Runs the body and watches its end. */
  enter(body: () => unknown): unknown {
    this.began = true;
    this.outcome = undefined;
    this.context.bodyBegins();
    if (this.stored) {
      this.outcome = this.stored;
      if ('error' in this.stored) throw this.stored.error;
      return this.stored.value;
    }
    let result: unknown;
    try {
      result = this.transaction ? this.transaction.run(body) : body();
    } catch (error) {
      this.end({ error });
      throw error;
    }
    if (isObservable(result)) return this.detached(result);
    if (typeof (result as PromiseLike<unknown> | null)?.then === 'function') {
      return Promise.resolve(result).then(
        (value) => {
          if (isObservable(value)) return this.detached(value);
          this.end({ value });
          return value;
        },
        (error: unknown) => {
          this.end({ error });
          throw error;
        },
      );
    }
    this.end({ value: result });
    return result;
  }

  /** Who stops listening (a time-out, a client that goes away) must not tear down half-done work. */
  private detached(source: Observable<unknown>): Observable<unknown> {
    const emitted = new ReplaySubject<unknown>();
    let last: unknown;
    source.subscribe({
      next: (value) => {
        last = value;
        emitted.next(value);
      },
      error: (error: unknown) => {
        this.end({ error });
        emitted.error(error);
      },
      complete: () => {
        this.end({ value: last });
        emitted.complete();
      },
    });
    return emitted.asObservable();
  }

  private end(outcome: Outcome): void {
    this.outcome = outcome;
    for (const listener of this.listeners) listener(outcome);
  }
}

/** The call that is being handled. */
export const frames = new AsyncLocalStorage<CallFrame>();
