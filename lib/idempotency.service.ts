import { Inject, Injectable, Logger } from '@nestjs/common';
import { IdempotencyEngine } from './engine/engine.js';
import type { EngineCounters } from './engine/policy.js';
import { decide, localCall } from './idempotency.call.js';
import { IDEMPOTENCY_OPTIONS } from './idempotency.constants.js';
import { IdempotencyContext } from './idempotency.context.js';
import {
  type IdempotencyModuleOptions,
  type IdempotentOptions,
  resolveOptions,
} from './idempotency.options.js';
import { principalOf } from './idempotency.route.js';
import { ValueRunner, type RunResult } from './idempotency.runner.js';
import { fingerprintOf } from './identity/fingerprint.js';
import { recordId } from './identity/identity.js';
import { checkKey } from './identity/key-header.js';
import { ResultStore, type StoredRecord } from './stores/result-store.js';

export interface RunRequest extends Omit<
  IdempotentOptions,
  'scope' | 'fingerprint' | 'required' | 'responseHeaders'
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
    const call = localCall({ transport: 'service', scope, payload });
    const identity = {
      id: recordId(scope, principal ?? (await principalOf(this.options, call)), checkKey(key)),
      scope,
      key,
      fingerprint: fingerprintOf(payload),
    };
    const onError = (error: unknown) =>
      decide(policy.onError, error, call, (message) => this.logger.error(message));
    const result = await this.runner.run({ identity, policy, decide: onError }, work, () =>
      work(IdempotencyContext.current()!),
    );
    return result;
  }

  /** The record of a key, or null. Its body is as stored. Without a `principal` it is that of `run` without one. */
  async find({ scope, key, principal }: FindRequest): Promise<StoredRecord | null> {
    const owner = principal ?? (await principalOf(this.options, localCall({ transport: 'service', scope })));
    return this.store.find(recordId(scope, owner, key));
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
