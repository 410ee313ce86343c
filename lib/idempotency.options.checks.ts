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
import { isErrorDecision } from './idempotency.call.js';
import { isComplete } from './idempotency.complete.js';
import { IdempotencyOptionsError } from './idempotency.errors.js';
import { isForbiddenHeader } from './transports/response-headers.js';

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

export class MethodOptionsShape extends RouteOptionsShape {
  @Optional()
  @Passing('true, false or { attempts, deadlineMs } with integers of at least 2 and 1', isComplete)
  complete?: unknown;
}

export class ModuleOptionsShape extends RouteOptionsShape {
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

/** @throws IdempotencyOptionsError with a line for every option that is wrong, or is none. */
export function check(shape: object, options: unknown, where: string): void {
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

/** A value as messages tell it, without what may be secret. */
export function show(value: unknown): string {
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
