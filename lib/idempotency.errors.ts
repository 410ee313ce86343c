import { HttpException } from '@nestjs/common';

/** Every refusal has one of these codes; they are stable. */
export type IdempotencyErrorCode = keyof typeof PROBLEMS;

const PROBLEMS = {
  'key-missing': { status: 400, title: 'Idempotency-Key is missing' },
  'principal-missing': { status: 400, title: 'The caller of this idempotent operation is not known' },
  'key-invalid': { status: 400, title: 'Idempotency-Key is malformed' },
  'key-reused': { status: 422, title: 'Idempotency-Key is already used' },
  'in-progress': { status: 409, title: 'A request is outstanding for this Idempotency-Key' },
  'response-not-replayable': {
    status: 409,
    title: 'The request was processed, but its answer cannot be repeated',
  },
  'outcome-uncertain': { status: 409, title: 'It is not known whether the request was processed' },
  'lease-lost': { status: 409, title: 'Ownership of this Idempotency-Key was lost while the request ran' },
  'transaction-conflict': { status: 503, title: 'The request gave way to others; nothing was done' },
  'transaction-failed': { status: 500, title: 'The transaction of the request failed; nothing was done' },
  unavailable: { status: 503, title: 'Duplicates cannot be told apart at the moment' },
  'lock-name-invalid': { status: 400, title: 'What this request would lock is not known' },
  'lock-busy': { status: 409, title: 'Another request holds the lock of this resource' },
  'lock-lost': { status: 409, title: 'The lock of this resource was lost while the request ran' },
  'lock-unavailable': { status: 503, title: 'Locks cannot be taken at the moment' },
} as const;

/** Body of a refusal, RFC 9457 `application/problem+json`. */
export interface IdempotencyProblem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: IdempotencyErrorCode;
  readonly detail?: string;
}

/** A problem, and when it is worth trying again, in milliseconds. */
export interface RefusalExtensions extends IdempotencyProblem {
  readonly retryAfterMs?: number;
}

/**
 * A call was refused. An `HttpException`, so Nest's own filter and every catch-all filter that knows
 * `getStatus()` answer it rightly. It carries nothing of the first request or of its answer.
 */
export class IdempotencyError extends HttpException {
  readonly code: IdempotencyErrorCode;
  /** When it is worth trying again, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: IdempotencyErrorCode,
    options: { detail?: string; retryAfterMs?: number; cause?: unknown } = {},
  ) {
    const { status, title } = PROBLEMS[code];
    const { detail } = options;
    const problem: IdempotencyProblem = {
      type: `urn:nestjs-idempotent:${code}`,
      title,
      status,
      code,
      ...(detail === undefined ? {} : { detail }),
    };
    super({ ...problem }, status, { cause: options.cause });
    this.name = 'IdempotencyError';
    this.message = detail ? `${title}: ${detail}` : title;
    this.code = code;
    this.retryAfterMs = options.retryAfterMs;
  }

  get problem(): IdempotencyProblem {
    return this.getResponse() as IdempotencyProblem;
  }

  /** The refusal as it is told where there are no headers. GraphQL servers take it for the `extensions` of an error. */
  get extensions(): RefusalExtensions {
    const { problem, retryAfterMs } = this;
    return retryAfterMs === undefined ? { ...problem } : { ...problem, retryAfterMs };
  }
}

/** A call whose key belongs to somebody else by now. */
export function leaseLost(): IdempotencyError {
  return new IdempotencyError('lease-lost', { retryAfterMs: 1_000 });
}

/** A module or route option is wrong. Thrown at start-up; the message names the option, the value and the fix. */
export class IdempotencyOptionsError extends Error {
  override readonly name = 'IdempotencyOptionsError';
}

/**
 * A step of a call is used in a way that cannot be right: twice, in another order than before, inside of another one, or
 * with a result that is not JSON. The message names the step and the fix.
 */
export class StepError extends Error {
  override readonly name: string = 'StepError';
}

/** The work of a step was done, but the store could not be told. Unless `onError` says otherwise the outcome is uncertain. */
export class StepNotRecordedError extends StepError {
  override readonly name = 'StepNotRecordedError';
}

/** What `LockNotAcquiredError` is of `IdempotencyError`, whose private `status` is a number. */
interface Refusal extends Error {
  readonly code: IdempotencyErrorCode;
  readonly retryAfterMs: number | undefined;
  readonly problem: IdempotencyProblem;
  readonly extensions: RefusalExtensions;
  getStatus(): number;
  getResponse(): string | object;
}

type RefusalOptions = ConstructorParameters<typeof IdempotencyError>[1];

const Refused: new (code: IdempotencyErrorCode, options?: RefusalOptions) => Refusal = IdempotencyError;

/** When it is worth asking again for a lock of which nothing more is known, in milliseconds. */
const ASK_AGAIN_MS = 1_000;

/**
 * `LockService.using` or `@Locked` did not get the lock; the work did not begin. `status` tells why.
 *
 * An `IdempotencyError`, and so an `HttpException`: 503 `lock-unavailable` when nobody could be asked, else 409
 * `lock-busy`.
 */
export class LockNotAcquiredError extends Refused {
  constructor(
    readonly lock: string,
    readonly status: 'busy' | 'timeout' | 'aborted' | 'unavailable',
    { retryAfterMs = ASK_AGAIN_MS, detail, cause }: NonNullable<RefusalOptions> = {},
  ) {
    super(status === 'unavailable' ? 'lock-unavailable' : 'lock-busy', {
      retryAfterMs,
      cause,
      ...(detail === undefined ? {} : { detail }),
    });
    this.name = 'LockNotAcquiredError';
    this.message = `Lock "${lock}" was not acquired: ${status}${detail === undefined ? '' : `. ${detail}`}`;
  }

  /** Of HTTP. The one of `HttpException` would answer `status`. */
  override getStatus(): number {
    return this.problem.status;
  }
}

/**
 * A lock ran out, was taken away, or could not be confirmed in time. The reason of a lease's aborted `signal`.
 * An `IdempotencyError`: 409 `lock-lost` when a handler throws it.
 */
export class LockLostError extends IdempotencyError {
  constructor(readonly lock: string) {
    super('lock-lost', { retryAfterMs: ASK_AGAIN_MS });
    this.name = 'LockLostError';
    this.message = `Lock "${lock}" is not held any more`;
  }
}

/**
 * An operator's act was refused and changed nothing. `code`: there is no such record, it is `completed`, its owner is
 * `live`, it is `free` already, or it `changed` at that moment.
 */
export class ActRefusedError extends Error {
  override readonly name = 'ActRefusedError';

  constructor(
    readonly recordId: string,
    readonly code: 'not-found' | 'completed' | 'live' | 'free' | 'changed',
    why: string,
  ) {
    super(`Record ${recordId.slice(0, 12)} was left as it is: ${why}`);
  }
}
