import { type Abstract, Inject, Injectable, type Type } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import type { FindOut } from './engine/reconciler.js';
import type { CallIdentity } from './engine/policy.js';
import { type GivenAnswer, responseOf } from './idempotency.answer.js';
import type { IdempotentCall } from './idempotency.call.js';
import { IdempotencyContext } from './idempotency.context.js';
import type { ResolvedOptions } from './idempotency.options.js';

/** An uncertain record, for who may find out what became of its work. */
export interface UncertainCall {
  readonly scope: string;
  readonly key: string;
  /** How often the work was begun. */
  readonly attempt: number;
  /** When the key was first used, in milliseconds since 1970 by the store's clock. */
  readonly createdAt: number;
  /** The duplicate that asks: same key, same payload. */
  readonly call: IdempotentCall;
  /** Aborts when the time for an answer is over. */
  readonly signal: AbortSignal;
  /** The key the handler derived for its downstream call under that name. */
  deriveKey(name: string): string;
  /** A provider of the app, wherever its module is. */
  get<T>(provider: Type<T> | Abstract<T> | string | symbol): T;
}

/**
 * The work was done and this is its answer; it was not done and the call runs again (recorded steps are kept); or it is
 * still not known. Throwing, and taking too long, is not knowing.
 */
export type ReconcileAnswer = GivenAnswer | 'retry' | 'unknown';
export type Reconcile = (uncertain: UncertainCall) => ReconcileAnswer | Promise<ReconcileAnswer>;

/** Puts a `reconcile` option to the engine. */
@Injectable()
export class ReconcileHooks {
  constructor(@Inject(ModuleRef) private readonly moduleRef: ModuleRef) {}

  /** undefined for a route that has none. */
  of(identity: CallIdentity, policy: ResolvedOptions, call: IdempotentCall): FindOut | undefined {
    const { reconcile, maxResponseBytes } = policy;
    if (!reconcile) return undefined;
    const { scope, key } = identity;
    const context = new IdempotencyContext(identity, null);
    return async ({ attempt, createdAt }, signal) => {
      const answer = await reconcile({
        ...{ scope, key, attempt, createdAt, call, signal },
        deriveKey: (name) => context.deriveKey(name),
        get: (provider) => this.moduleRef.get(provider as never, { strict: false }),
      });
      if (answer === 'retry' || answer === 'unknown') return answer;
      const response = responseOf(answer, maxResponseBytes, `reconcile of ${scope}`);
      if (response.status === null || call.transport === 'http') return response;
      throw new Error(`reconcile of ${scope}: this is no HTTP handler; answer with { value } or { error }`);
    };
  }
}
