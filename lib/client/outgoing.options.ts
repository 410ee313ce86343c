import { seconds } from '../durations.js';

/** What an answer's status line and headers say. */
export interface AnswerHead {
  readonly status: number;
  /** From `Retry-After`; undefined when there is none that can be read. */
  readonly retryAfterMs: number | undefined;
  /** A header by its name, in whatever case. */
  header(name: string): string | undefined;
}

export interface OutgoingOptions {
  /** The most times a request is sent. @default 12 */
  readonly attempts?: number;
  /** After so many milliseconds, waits included, the call has failed. @default 60 000 */
  readonly deadlineMs?: number;
  /** An attempt that has no complete answer after so many milliseconds is given up. @default 10 000 */
  readonly attemptTimeoutMs?: number;
  /** The longest wait before the second attempt, in milliseconds; it doubles with every further one. @default 200 */
  readonly backoffMs?: number;
  /** What the longest wait does not grow beyond, in milliseconds. `Retry-After` comes on top. @default 10 000 */
  readonly maxBackoffMs?: number;
  /** The header that carries the key. @default 'Idempotency-Key' */
  readonly header?: string;
  /** Whether an answer is worth another attempt. @default isRetryable */
  readonly retryable?: (answer: AnswerHead) => boolean;
}

const RETRYABLE: ReadonlySet<number> = new Set([408, 425, 429, 502, 503, 504]);

/**
 * 409 with `Retry-After` (the first still runs), 408, 425, 429, 502, 503 and 504. All else is an answer: 400 and 422 say
 * that the same request will never do, 409 without `Retry-After` that somebody has to look, 500 that it failed over there.
 */
export function isRetryable({ status, retryAfterMs }: AnswerHead): boolean {
  return status === 409 ? retryAfterMs !== undefined : RETRYABLE.has(status);
}

const LONGEST_MS = 2 ** 31 - 1;

/** @throws TypeError naming the option, its value and the fix. */
export function checkedOptions(options: OutgoingOptions): Required<OutgoingOptions> {
  const checked: Required<OutgoingOptions> = {
    attempts: integer('attempts', options.attempts ?? 12, 1, 1_000),
    deadlineMs: integer('deadlineMs', options.deadlineMs ?? seconds(60), 1, LONGEST_MS),
    attemptTimeoutMs: integer('attemptTimeoutMs', options.attemptTimeoutMs ?? seconds(10), 1, LONGEST_MS),
    backoffMs: integer('backoffMs', options.backoffMs ?? 200, 0, LONGEST_MS),
    maxBackoffMs: integer('maxBackoffMs', options.maxBackoffMs ?? seconds(10), 0, LONGEST_MS),
    header: options.header ?? 'Idempotency-Key',
    retryable: options.retryable ?? isRetryable,
  };
  if (typeof checked.header !== 'string' || !/^[\w!#$%&'*+.^`|~-]+$/.test(checked.header))
    throw wrong('header', checked.header, 'the name of a header');
  if (typeof checked.retryable !== 'function')
    throw wrong('retryable', checked.retryable, 'a function of the answer');
  return checked;
}

function integer(option: string, value: number, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  const unit = option.endsWith('Ms') ? ' (milliseconds)' : '';
  throw wrong(option, value, `an integer from ${least} to ${most}${unit}`);
}

function wrong(option: string, value: unknown, fix: string): TypeError {
  return new TypeError(`${option} is ${String(value)}; it must be ${fix}`);
}
