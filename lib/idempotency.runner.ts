import { Logger } from '@nestjs/common';
import { isObservable, lastValueFrom } from 'rxjs';
import { IdempotencyEngine } from './engine/engine.js';
import type { Ownership, Settlement } from './engine/ownership.js';
import type { CallIdentity } from './engine/policy.js';
import type { FindOut } from './engine/reconciler.js';
import { isConflict, isUncertain } from './engine/step-transaction.js';
import type { TransactionRun } from './engine/transaction-run.js';
import type { ErrorDecision, IdempotentCall } from './idempotency.call.js';
import { IdempotencyContext } from './idempotency.context.js';
import { IdempotencyError } from './idempotency.errors.js';
import { CallFrame, frames, type Outcome } from './idempotency.frame.js';
import type { ReconcileHooks } from './idempotency.reconcile.js';
import type { IdempotentRoute } from './idempotency.route.js';
import type { ResolvedOptions } from './idempotency.options.js';
import { decodeOutcome, encodeOutcome } from './idempotency.value.js';
import type { StoredResponse } from './stores/result-store.js';

export interface RunResult<T> {
  readonly value: T;
  /** True: the value of an earlier run. */
  readonly replayed: boolean;
  readonly attempt: number;
}

/** One call whose answer is a value: a method, a message, a service call. */
export interface ValueCall {
  readonly identity: CallIdentity;
  readonly policy: ResolvedOptions;
  readonly decide: (error: unknown) => ErrorDecision;
  readonly findOut?: FindOut | undefined;
  /** True: the work is the body itself, and not what leads to a decorated method, which reports its begin. */
  readonly isBody?: boolean;
  /** Done with the key claimed, before the work. Settles the key itself if it throws. */
  readonly prepare?: ((ownership: Ownership) => Promise<void> | void) | undefined;
}

/** Runs calls whose answer is what they return: claim, run, record, return. */
export class ValueRunner {
  private readonly logger = new Logger('Idempotency');

  constructor(
    private readonly engine: IdempotencyEngine,
    private readonly hooks?: ReconcileHooks,
  ) {}

  /** A call of a decorated handler or method. Without a key (and none required) it runs as it is. */
  async runRoute(
    route: IdempotentRoute,
    call: IdempotentCall,
    target: Function,
    work: () => unknown,
  ): Promise<unknown> {
    return this.runIdentified(await route.identify(call), route, call, target, work);
  }

  /** @param decide in place of what the route decides. */
  async runIdentified(
    identity: CallIdentity | null,
    route: IdempotentRoute,
    call: IdempotentCall,
    target: Function,
    work: () => unknown,
    decide = (error: unknown) => route.decide(error, call, (message) => this.logger.error(message)),
  ): Promise<unknown> {
    if (!identity) return frames.run(this.frame(target, route.policy, null, null), work);
    const findOut = this.hooks?.of(identity, route.policy, call);
    const prepare = route.prepare(call);
    const todo = { identity, policy: route.policy, decide, findOut, prepare };
    const { value } = await this.run(todo, target, work);
    return value;
  }

  /**
   * @param target what `work` calls, so that it is not taken for a call of its own.
   * @throws what `work` throws; IdempotencyError when the call is refused.
   */
  async run<T>(
    { identity, policy, decide, findOut, isBody, prepare }: ValueCall,
    target: Function,
    work: () => T,
  ): Promise<RunResult<Awaited<T>>> {
    const begun = await this.engine.begin(identity, policy, findOut);
    if (begun.kind === 'replay') return this.replayed(decodeOutcome(begun.response), begun.attempt);
    const ownership = begun.kind === 'run' ? begun.ownership : null;
    if (prepare && ownership) await prepare(ownership);
    const first = this.frame(target, policy, identity, ownership);
    const { context, transaction } = first;
    for (let frame = first; ; frame = new CallFrame(target, context, undefined, transaction)) {
      const body = transaction && isBody ? () => frame.enter(work) : work;
      const outcome = await frames.run(frame, () => outcomeOf(body));
      if (ownership && 'error' in outcome && !isBody && !(frame.began && frame.outcome)) {
        if (frame.began) this.settleWhenEnded(frame, ownership, decide);
        else await ownership.release('forget');
      } else if (ownership) {
        if ('error' in outcome) await transaction?.rollback();
        const settlement = await this.settle(ownership, outcome, decide, transaction);
        if (settlement === 'again') continue;
        if (!settlement.recorded) return this.superseded(settlement);
      }
      if ('error' in outcome) throw outcome.error;
      return { value: outcome.value as Awaited<T>, replayed: false, attempt: ownership?.attempt ?? 1 };
    }
  }

  private frame(
    target: Function,
    policy: ResolvedOptions,
    identity: CallIdentity | null,
    ownership: Ownership | null,
  ): CallFrame {
    const context = new IdempotencyContext(identity, ownership, this.engine.store);
    const transaction = this.engine.transactionOf(policy, ownership, context);
    return new CallFrame(target, context, undefined, transaction);
  }

  /** Somebody stopped waiting (a time-out) for a body that runs on: what becomes of it is recorded for the next who asks. */
  private settleWhenEnded(
    frame: CallFrame,
    ownership: Ownership,
    decide: (error: unknown) => ErrorDecision,
  ): void {
    const settle = async (outcome: Outcome) => {
      if ('error' in outcome) await frame.transaction?.rollback();
      const settlement = await this.settle(ownership, outcome, decide, frame.transaction);
      if (settlement === 'again') await ownership.release('keep');
    };
    frame.whenEnded((outcome) => {
      settle(outcome).catch((error: unknown) =>
        this.logger.error(`${ownership.identity.scope}: ${String(error)}`),
      );
    });
  }

  /** @returns `again`: the transaction gave way to others at its very end, and is to be run again. */
  private async settle(
    ownership: Ownership,
    outcome: Outcome,
    decide: (error: unknown) => ErrorDecision,
    transaction: TransactionRun | undefined,
  ): Promise<Settlement | 'again'> {
    const decision = 'error' in outcome ? decide(outcome.error) : 'replay';
    if (decision === 'replay') {
      const response = encodeOutcome(outcome, ownership.policy.maxResponseBytes);
      return transaction?.isOpen
        ? this.commit(ownership, transaction, response)
        : ownership.complete(response);
    }
    if (decision === 'uncertain') await ownership.markUncertain();
    else await ownership.release('keep');
    return { recorded: true };
  }

  private async commit(
    ownership: Ownership,
    transaction: TransactionRun,
    response: StoredResponse,
  ): Promise<Settlement | 'again'> {
    try {
      return await transaction.commit(response);
    } catch (error) {
      if (isConflict(error) && transaction.mayRunAgain) {
        await transaction.pause();
        return 'again';
      }
      if (isUncertain(error)) ownership.leaveToRecord();
      else await ownership.release('keep');
      throw error;
    }
  }

  /** A late owner answers what its successor recorded; its own result is nobody's. */
  private superseded<T>({ seen }: Settlement & { recorded: false }): RunResult<T> {
    if (seen?.state !== 'completed' || !seen.response)
      throw new IdempotencyError('lease-lost', { retryAfterMs: 1_000 });
    return this.replayed(decodeOutcome(seen.response), seen.attempt);
  }

  private replayed<T>(outcome: Outcome, attempt: number): RunResult<T> {
    if ('error' in outcome) throw outcome.error;
    return { value: outcome.value as T, replayed: true, attempt };
  }
}

async function outcomeOf(work: () => unknown): Promise<Outcome> {
  try {
    const result = await work();
    return {
      value: isObservable(result) ? await lastValueFrom(result, { defaultValue: undefined }) : result,
    };
  } catch (error) {
    return { error };
  }
}
