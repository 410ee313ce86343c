import { defaultOnError, type IdempotentCall, type OnError } from './idempotency.call.js';
import { type CompleteOptions, completeOf, refuseIncompletable } from './idempotency.complete.js';
import { hours, minutes, seconds } from './durations.js';
import type { TransactionTerms } from './engine/policy.js';
import { IdempotencyOptionsError } from './idempotency.errors.js';
import { check, MethodOptionsShape, ModuleOptionsShape, show } from './idempotency.options.checks.js';
import type { Reconcile } from './idempotency.reconcile.js';
import type { LockDriver } from './locks/lock-driver.js';
import type { ResultStore } from './stores/result-store.js';
import type { IsolationLevel } from './stores/store-transactions.js';
import { DEFAULT_RESPONSE_HEADERS } from './transports/response-headers.js';

/** Who owns a key: part of its identity. Never derived from a token that rotates. */
export type Principal = (
  call: IdempotentCall,
) => string | number | bigint | null | undefined | Promise<string | number | bigint | null | undefined>;

/** Options that a route may set for itself. Durations are milliseconds. */
export interface IdempotentOptions {
  /** Life of lock and claim without renewal; renewed at a third of it while the handler runs. @default 30 000 */
  leaseMs?: number;
  /** No renewal later than this after the claim. @default 600 000 (10 minutes) */
  maxHoldMs?: number;
  /** How long a result is replayed. @default 86 400 000 (24 hours) */
  retentionMs?: number;
  /** Duplicate of a running call: 409 at once, or wait for the result and replay it. @default 'reject' */
  onConflict?: 'reject' | 'wait';
  /** How long `onConflict: 'wait'` waits before it answers 409. @default 10 000 */
  waitTimeoutMs?: number;
  /**
   * What an error leaves behind.
   * @default thrown before the handler's body began: release; `HttpException` 4xx other than 401 403 408 409
   * 423 425 429: replay; anything else: release. 401 403 408 425 429 are never stored.
   */
  onError?: OnError;
  /** A lease ran out with no result: run again, or refuse until somebody resolves it. @default 'retry' */
  onOrphan?: 'retry' | 'uncertain';
  /** Asked what became of the work when a duplicate meets an uncertain record. @default nobody: it is refused until somebody resolves it */
  reconcile?: Reconcile;
  /** How long `reconcile` may take; past it nobody knows. It is not asked again sooner. @default 5 000 */
  reconcileTimeoutMs?: number;
  /**
   * A provider's method whose process died is finished by another one, without waiting for its caller: its arguments are
   * stored (as structured clones, `maxResponseBytes` at most) before it begins. Bounded by `attempts` in all (5) and
   * `deadlineMs` since the key was first used (1 hour). Of a method only, not of the module. @default false
   */
  complete?: boolean | CompleteOptions;
  /** Lock or store down: 503 without running the handler, or run it unprotected. @default 'reject' */
  onUnavailable?: 'reject' | 'run';
  /**
   * RabbitMQ: how long a message waits that is put back, because its first delivery is still at work or lock or store are
   * down. @default 1 000
   */
  redeliveryDelayMs?: number;
  /** One operation on lock or store; past it the backend counts as unavailable. @default 2 000 */
  backendTimeoutMs?: number;
  /** Routes with one scope share keys. @default `Controller.method` */
  scope?: string;
  /** Selects what must not change between retries. @default body, route template and params (payload or arguments elsewhere) */
  fingerprint?: (call: IdempotentCall) => unknown;
  /** False: a call without a key runs unprotected. @default true */
  required?: boolean;
  /**
   * The handler, its database writes through `ctx.manager` and the result commit in one transaction of the store's
   * database. For `typeOrmStore` only. @default false
   */
  transactional?: boolean | TransactionalOptions;
  /** Beyond it the result is recorded without a body: duplicates get 409, the handler never runs again. @default 1 048 576 */
  maxResponseBytes?: number;
  /** Replayed headers; a name may end in `*`. @default location, etag, link, last-modified, content-* (not length, encoding) */
  responseHeaders?: readonly string[];
}

export interface TransactionalOptions {
  /**
   * Above READ COMMITTED the claim is not renewed, as that would count as a change by others: the call then has one
   * `leaseMs`. SQLite is always serializable. @default the database's, but at least READ COMMITTED
   */
  isolation?: IsolationLevel;
  /** How often the whole is run again when the database rolled it back in favour of others. @default 3 */
  retries?: number;
}

export interface IdempotencyModuleOptions extends Omit<IdempotentOptions, 'complete'> {
  /** `'none'` says out loud that keys are shared by all callers. Required. */
  principal: 'none' | Principal;
  /** Where results are persisted. Its claim is atomic and sufficient by itself. Required. */
  store: ResultStore;
  /** Distributed lock in front of the store: keeps duplicates off the database and wakes waiters. @default none */
  lock?: LockDriver;
  /** Removal of expired rows, by this process as well; false: somebody else does it. @default every 60 000 ms, 500 rows at a time */
  sweep?: false | { everyMs?: number; rows?: number };
}

/** Options of a route with every default filled in. */
export type ResolvedOptions = Required<
  Omit<IdempotentOptions, OptionsWithoutDefault | 'transactional' | 'complete'>
> &
  Pick<IdempotentOptions, OptionsWithoutDefault> & {
    readonly transactional: false | TransactionTerms;
    readonly complete: false | Required<CompleteOptions>;
  };

type OptionsWithoutDefault = 'scope' | 'fingerprint' | 'reconcile';

const DEFAULTS: ResolvedOptions = {
  leaseMs: seconds(30),
  maxHoldMs: minutes(10),
  retentionMs: hours(24),
  onConflict: 'reject',
  waitTimeoutMs: seconds(10),
  onError: defaultOnError,
  onOrphan: 'retry',
  onUnavailable: 'reject',
  complete: false,
  reconcileTimeoutMs: seconds(5),
  redeliveryDelayMs: seconds(1),
  backendTimeoutMs: seconds(2),
  required: true,
  transactional: false,
  maxResponseBytes: 1024 * 1024,
  responseHeaders: DEFAULT_RESPONSE_HEADERS,
};

/**
 * Checks the options of the module.
 * @throws IdempotencyOptionsError naming every wrong option, its value and the fix.
 */
export function checkModuleOptions(options: IdempotencyModuleOptions): IdempotencyModuleOptions {
  check(new ModuleOptionsShape(), options, 'IdempotencyModule');
  return options;
}

/**
 * Merges the options of a route over those of the module over the defaults.
 * @throws IdempotencyOptionsError naming the route, the wrong option, its value and the fix.
 */
export function resolveOptions(
  module: IdempotencyModuleOptions,
  route: IdempotentOptions,
  where: string,
): ResolvedOptions {
  check(new MethodOptionsShape(), route, where);
  const { principal: _p, store: _s, lock: _l, sweep: _w, ...ofModule } = module;
  const merged = { ...DEFAULTS, ...definedOnly(ofModule), ...definedOnly(route) };
  const transactional = transactionTerms(merged.transactional);
  const complete = completeOf(route.complete);
  const resolved: ResolvedOptions = { ...merged, transactional, complete };
  if (complete)
    refuseIncompletable(resolved, module.store, `${where}: complete is ${show(route.complete)}, but`);
  if (resolved.transactional && !module.store.transactions) {
    throw new IdempotencyOptionsError(
      `${where}: transactional is ${show(merged.transactional)}, but the store "${module.store.name}" has no transactions ` +
        'the handler could write in; use typeOrmStore({ dataSource }), or leave transactional out',
    );
  }
  if (resolved.maxHoldMs < resolved.leaseMs) {
    throw new IdempotencyOptionsError(
      `${where}: maxHoldMs is ${resolved.maxHoldMs}; it must be at least leaseMs, which is ${resolved.leaseMs}`,
    );
  }
  return resolved;
}

function transactionTerms(option: boolean | TransactionalOptions): false | TransactionTerms {
  if (option === false) return false;
  const { isolation, retries = 3 } = option === true ? {} : option;
  return { isolation, retries };
}

function definedOnly<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}
