import { Inject, Injectable, Logger } from '@nestjs/common';
import { IdempotencyEngine } from './engine/engine.js';
import type { EngineCounters } from './engine/policy.js';
import { decide, localCall } from './idempotency.call.js';
import { IDEMPOTENCY_OPTIONS } from './idempotency.constants.js';
import { IdempotencyContext } from './idempotency.context.js';
import { IdempotencyOptionsError } from './idempotency.errors.js';
import {
  type IdempotencyModuleOptions,
  type IdempotentOptions,
  resolveOptions,
} from './idempotency.options.js';
import { ReconcileHooks } from './idempotency.reconcile.js';
import { principalOf } from './idempotency.route.js';
import { ValueRunner, type RunResult } from './idempotency.runner.js';
import { fingerprintOf } from './identity/fingerprint.js';
import { recordId } from './identity/identity.js';
import { checkKey } from './identity/key-header.js';
import { type ActRequest, type ListRequest, Operator, type ResolveRequest } from './operations/operator.js';
import type { AuditEntry, ListPage } from './stores/act.js';
import { ResultStore, type StoredRecord } from './stores/result-store.js';
import type { StoredStep } from './stores/step-store.js';

export interface RunRequest extends Omit<
  IdempotentOptions,
  'scope' | 'fingerprint' | 'required' | 'responseHeaders' | 'complete'
> {
  /** Keys of different scopes are strangers. */
  readonly scope: string;
  /** At most 255 characters. */
  readonly key: string;
  /** Who owns the key. @default what the module's `principal` gives for a call without a request */
  readonly principal?: string;
  /** What must not change between retries. @default nothing */
  readonly payload?: unknown;
}

export type FindRequest = Pick<RunRequest, 'scope' | 'key' | 'principal'>;

/** Idempotency without a decorator, and what the operator needs. */
@Injectable()
export class IdempotencyService {
  private readonly logger = new Logger('Idempotency');

  constructor(
    @Inject(IDEMPOTENCY_OPTIONS) private readonly options: IdempotencyModuleOptions,
    @Inject(IdempotencyEngine) private readonly engine: IdempotencyEngine,
    @Inject(ValueRunner) private readonly runner: ValueRunner,
    @Inject(ResultStore) private readonly store: ResultStore,
    @Inject(Operator) private readonly operator: Operator,
    @Inject(ReconcileHooks) private readonly hooks: ReconcileHooks,
  ) {}

  /**
   * Runs `work` once per scope, principal and key; later calls get the recorded value (as a structured clone)
   * or the recorded error.
   *
   * @throws IdempotencyError when refused; IdempotencyOptionsError when an option is wrong; what `work` throws.
   */
  async run<T>(
    request: RunRequest,
    work: (context: IdempotencyContext) => Promise<T> | T,
  ): Promise<RunResult<T>> {
    const { scope, key, principal, payload, ...options } = request;
    const policy = resolveOptions(this.options, { ...options, scope }, `IdempotencyService.run of ${scope}`);
    if (policy.complete) {
      throw new IdempotencyOptionsError(
        `IdempotencyService.run of ${scope}: complete is true, but a function cannot be run by another process; ` +
          `put @Idempotent({ complete: true }) on a provider's method`,
      );
    }
    const call = localCall({ transport: 'service', scope, payload });
    const identity = {
      id: recordId(scope, principal ?? (await principalOf(this.options, call)), checkKey(key)),
      scope,
      key,
      fingerprint: fingerprintOf(payload),
    };
    const onError = (error: unknown) =>
      decide(policy.onError, error, call, (message) => this.logger.error(message));
    const findOut = this.hooks.of(identity, policy, call);
    const valueCall = { identity, policy, decide: onError, findOut, isBody: true };
    const result = await this.runner.run(valueCall, work, () => work(IdempotencyContext.current()!));
    return result;
  }

  /**
   * The record of a key or with an id, or null. Its body is as stored. Without a `principal` it is that of `run` without
   * one.
   */
  async find(request: FindRequest | string): Promise<StoredRecord | null> {
    if (typeof request === 'string') return this.store.find(request);
    const { scope, key, principal } = request;
    const owner = principal ?? (await principalOf(this.options, localCall({ transport: 'service', scope })));
    return this.store.find(recordId(scope, owner, key));
  }

  /**
   * Records without their answers, a page at a time: by state and age in a database, in no order in Redis, where a record
   * may come twice, each page looks through some 5 000 keys at most and may be empty before the last.
   *
   * @param request `state` (`'stuck'`: running, and the lease is over), `olderThanMs`, `scope`, `limit` (1 to 1 000,
   * default 100), `cursor` of the page before.
   * @throws IdempotencyOptionsError when the request is wrong; BackendUnavailableError.
   */
  list(request: ListRequest = {}): Promise<ListPage> {
    return this.operator.list(request);
  }

  /** What a call has done already: its recorded steps, by position. Their results are JSON, wrapped. */
  steps(id: string): Promise<StoredStep[]> {
    return this.operator.steps(id);
  }

  /** What operators and reconcile hooks did to a record, the oldest first. */
  audit(id: string): Promise<AuditEntry[]> {
    return this.operator.audit(id);
  }

  /**
   * Frees the key of a record that is running, stuck or uncertain, for the next call with the same payload. Whoever ran
   * it has lost it from now on and records nothing; what he has done outside is not undone, and he may go on with it
   * until his `signal` aborts.
   *
   * @param id of the record, as `list` and `find` tell it.
   * @throws ActRefusedError when it is completed, free already, or not there.
   * @throws IdempotencyOptionsError when `by` or `reason` is missing.
   * @throws BackendUnavailableError when the store did not answer; `audit` tells whether it was done.
   */
  release(id: string, request: ActRequest): Promise<void> {
    return this.operator.release(id, request);
  }

  /**
   * Settles a record that is uncertain or stuck (or free): with what duplicates get from now on, for the module's
   * `retentionMs`, or with `'retry'`.
   *
   * @throws ActRefusedError when it is completed, not there, its owner is at work, or it is free already and to be retried.
   * @throws IdempotencyOptionsError when `by`, `reason` or the response is not what it should be.
   * @throws BackendUnavailableError when the store did not answer; `audit` tells whether it was done.
   */
  resolve(id: string, request: ResolveRequest): Promise<void> {
    return this.operator.resolve(id, request);
  }

  /** What has happened in this process since it started. */
  get counters(): Readonly<EngineCounters> {
    return { ...this.engine.counters };
  }

  /** Calls of this process that own their key at the moment. */
  get running(): number {
    return this.engine.running;
  }
}
