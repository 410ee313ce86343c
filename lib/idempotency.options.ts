import {
  IsBoolean,
  IsIn,
  IsInt,
  IsString,
  Max,
  Min,
  MinLength,
  ValidateBy,
  ValidateIf,
  validateSync,
  type ValidationArguments,
} from 'class-validator';
import { defaultOnError, isErrorDecision, type IdempotentCall, type OnError } from './idempotency.call.js';
import { IdempotencyOptionsError } from './idempotency.errors.js';
import { hours, minutes, seconds } from './durations.js';
import { type CompleteOptions, completeOf, isComplete, refuseIncompletable } from './idempotency.complete.js';
import type { Reconcile } from './idempotency.reconcile.js';
import type { LockDriver } from './locks/lock-driver.js';
import type { TransactionTerms } from './engine/policy.js';
import type { ResultStore } from './stores/result-store.js';
import type { IsolationLevel } from './stores/store-transactions.js';
import { DEFAULT_RESPONSE_HEADERS, isForbiddenHeader } from './transports/response-headers.js';

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

const LONGEST_MS = 2 ** 31 - 1;

/** Message of a failed check: the option, the value, the fix. */
export const must = (fix: string) => ({
  message: ({ property, value }: ValidationArguments) => `${property} is ${show(value)}; it must be ${fix}`,
});

/** Not there, or undefined. null is a value, and a wrong one. */
export const Optional = () => ValidateIf((_options, value) => value !== undefined);

export const Milliseconds = (least: number, most = LONGEST_MS): PropertyDecorator => {
  const message = must(`an integer from ${least} to ${most} (milliseconds)`);
  return all(Optional(), IsInt(message), Min(least, message), Max(most, message));
};
const OneOf = (...words: string[]) =>
  all(Optional(), IsIn(words, must(words.map((word) => `'${word}'`).join(' or '))));
const Passing = (fix: string, passes: (value: any) => boolean) =>
  ValidateBy({ name: 'passes', validator: { validate: passes } }, must(fix));

const STORE_METHODS = [
  ...['claim', 'find', 'complete', 'renew', 'release', 'markUncertain', 'sweep'],
  ...['act', 'audit', 'list', 'reserve'],
];

class RouteOptionsShape {
  @Milliseconds(50) leaseMs?: unknown;
  @Milliseconds(50) maxHoldMs?: unknown;
  @Milliseconds(1, Number.MAX_SAFE_INTEGER) retentionMs?: unknown;
  @OneOf('reject', 'wait') onConflict?: unknown;
  @Milliseconds(0) waitTimeoutMs?: unknown;
  @Optional()
  @Passing(
    `'release', 'replay', 'uncertain' or a function of (error, call) that returns one of them`,
    isOnError,
  )
  onError?: unknown;
  @OneOf('retry', 'uncertain') onOrphan?: unknown;
  @Optional()
  @Passing(
    "a function of the call that returns { status, body }, { value }, { error }, 'retry' or 'unknown'",
    isFunction,
  )
  reconcile?: unknown;
  @Milliseconds(10) reconcileTimeoutMs?: unknown;
  @OneOf('reject', 'run') onUnavailable?: unknown;
  @Milliseconds(1) redeliveryDelayMs?: unknown;
  @Milliseconds(10) backendTimeoutMs?: unknown;
  @Optional() @IsString(must('a text')) @MinLength(1, must('a text that is not empty')) scope?: unknown;
  @Optional() @Passing('a function of the call', isFunction) fingerprint?: unknown;
  @Optional() @IsBoolean(must('true or false')) required?: unknown;
  @Optional()
  @IsInt(must('an integer (bytes)'))
  @Min(0, must('an integer of at least 0 (bytes)'))
  maxResponseBytes?: unknown;
  @Optional()
  @Passing(
    `true, false or { isolation: 'READ COMMITTED', 'REPEATABLE READ' or 'SERIALIZABLE', retries: an integer from 0 to 100 }`,
    isTransactional,
  )
  transactional?: unknown;
  @Optional()
  @Passing(
    'a list of header names without Set-Cookie, Date, hop-by-hop, tracing and rate-limit headers, which are never replayed',
    isHeaderList,
  )
  responseHeaders?: unknown;
}

class MethodOptionsShape extends RouteOptionsShape {
  @Optional()
  @Passing('true, false or { attempts, deadlineMs } with integers of at least 2 and 1', isComplete)
  complete?: unknown;
}

class ModuleOptionsShape extends RouteOptionsShape {
  @Passing(
    `a function such as ({ request }) => request.user?.id that tells who owns a key, or 'none' if all callers share their keys`,
    (value) => value === 'none' || isFunction(value),
  )
  principal?: unknown;
  @Passing(
    'a result store, for example typeOrmStore({ dataSource }), redisStore({ client }) or memoryStore()',
    (value) => hasMethods(value, ...STORE_METHODS),
  )
  store?: unknown;
  @Optional()
  @Passing('a lock driver, for example redisLock({ client }) or memoryLock()', (value) =>
    hasMethods(value, 'acquire', 'extend', 'release'),
  )
  lock?: unknown;
  @Optional()
  @Passing('false or { everyMs, rows } with integers of at least 10 and 1', isSweep)
  sweep?: unknown;
}

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

/** @throws IdempotencyOptionsError with a line for every option that is wrong, or is none. */
export /** @throws IdempotencyOptionsError naming every wrong option, its value and the fix. */
function check(shape: object, options: unknown, where: string): void {
  if (typeof options !== 'object' || options === null) {
    throw new IdempotencyOptionsError(`${where}: options are ${show(options)}; they must be an object`);
  }
  const errors = validateSync(Object.assign(shape, options), { whitelist: true, forbidNonWhitelisted: true });
  if (errors.length === 0) return;
  const lines = errors.map(({ property, constraints = {} }) =>
    'whitelistValidation' in constraints
      ? `${property} is not an option here`
      : Object.values(constraints)[0],
  );
  throw new IdempotencyOptionsError(`${where}: ${lines.join('; ')}`);
}

function definedOnly<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}

function all(...decorators: PropertyDecorator[]): PropertyDecorator {
  return (target, property) => decorators.forEach((decorate) => decorate(target, property));
}

function isFunction(value: unknown): boolean {
  return typeof value === 'function';
}

function isOnError(value: unknown): boolean {
  return isFunction(value) || isErrorDecision(value);
}

function isHeaderList(value: unknown): boolean {
  return (
    Array.isArray(value) &&
    value.every((name) => typeof name === 'string' && name !== '' && !isForbiddenHeader(name))
  );
}

const ISOLATION_LEVELS: readonly unknown[] = ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'];

function isTransactional(value: unknown): boolean {
  if (typeof value === 'boolean') return true;
  if (typeof value !== 'object' || value === null) return false;
  const { isolation, retries = 0, ...others } = value as Record<string, unknown>;
  const isCount = Number.isSafeInteger(retries) && (retries as number) >= 0 && (retries as number) <= 100;
  return (
    (isolation === undefined || ISOLATION_LEVELS.includes(isolation)) &&
    isCount &&
    Object.keys(others).length === 0
  );
}

function isSweep(value: unknown): boolean {
  if (value === false) return true;
  if (typeof value !== 'object' || value === null) return false;
  const { everyMs = 10, rows = 1, ...others } = value as Record<string, unknown>;
  const isAtLeast = (n: unknown, least: number) => Number.isSafeInteger(n) && (n as number) >= least;
  return isAtLeast(everyMs, 10) && isAtLeast(rows, 1) && Object.keys(others).length === 0;
}

function hasMethods(value: any, ...names: string[]): boolean {
  return typeof value === 'object' && value !== null && names.every((name) => isFunction(value[name]));
}

function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return `[${value.map(show).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return String(value);
  if (Object.getPrototypeOf(value) !== Object.prototype)
    return `an object (${value.constructor?.name ?? 'bare'})`;
  // Numbers only: other things may be secret, such as the URL of a database in the wrong place.
  const fields = Object.entries(value).map(
    ([name, field]) => `${name}: ${typeof field === 'number' ? field : '…'}`,
  );
  return fields.length === 0 ? '{}' : `{ ${fields.join(', ')} }`;
}
