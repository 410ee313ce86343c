import { StepNotRecordedError } from './idempotency.errors.js';

/** What a call is, for the functions of the options: `principal`, key functions, `fingerprint`, `onError`. */
export interface IdempotentCall {
  readonly transport: 'http' | 'rpc' | 'ws' | 'graphql' | 'job' | 'cron' | 'method' | 'service';
  /** `Controller.method`, or the `scope` option. */
  readonly scope: string;
  /** The platform's request object; the context of a message (`@Ctx()`); the job; an empty object where there is none. */
  readonly request: any;
  /** `request.user`, as guards leave it. */
  readonly user: any;
  readonly body: any;
  readonly params: any;
  readonly query: any;
  /** Of the request, or of the message where its transport has any. */
  readonly headers: any;
  /** Route template, e.g. `/orders/:id/refunds`; HTTP only. */
  readonly route: string | undefined;
  /** Data of a message or job, arguments of a GraphQL field, or the `payload` of `IdempotencyService.run`. */
  readonly payload: any;
  /** Of a message: RabbitMQ's `messageId`, NATS' `Nats-Msg-Id`, Kafka's `topic/partition/offset`, the id of a job. */
  readonly messageId?: string | undefined;
  /** When a `@Cron` method was to be called, as `2026-11-22T03:00:00.000Z`. */
  readonly tick?: string | undefined;
  /** Arguments of a method call, in order; those of a GraphQL field, by name. */
  readonly args: any;
  /**
   * A key that came as a field: `extensions.idempotencyKey` of a GraphQL request, `idempotencyKey` in the data of a
   * WebSocket message. Taken before the header.
   */
  readonly idempotencyKey?: unknown;
  /** Where the answer of a GraphQL field goes: its alias, or its name. */
  readonly path?: string;
}

const NOTHING = Object.freeze({});

/** A call without a request: a method or a service call. */
export function localCall(
  call: Pick<IdempotentCall, 'transport' | 'scope'> & Partial<IdempotentCall>,
): IdempotentCall {
  return {
    request: NOTHING,
    user: undefined,
    body: undefined,
    params: undefined,
    query: undefined,
    headers: undefined,
    route: undefined,
    payload: undefined,
    args: [],
    ...call,
  };
}

/** What a failed call leaves behind: the key is free, the error is the answer, or nobody knows. */
export type ErrorDecision = 'release' | 'replay' | 'uncertain';
export type OnError = ErrorDecision | ((error: unknown, call: IdempotentCall) => ErrorDecision);

/** Answers with these are about the caller or the moment, never about the operation. */
const NEVER_STORED = new Set([401, 403, 408, 425, 429]);
/** Client errors that may be gone the next time. */
const TRANSIENT = new Set([...NEVER_STORED, 409, 423]);

export function isNeverStored(status: number): boolean {
  return NEVER_STORED.has(status);
}

/**
 * `HttpException`s with a lasting 4xx are the answer; a step that was done and could not be recorded leaves the
 * outcome uncertain; whatever else frees the key.
 */
export function defaultOnError(error: unknown): ErrorDecision {
  if (error instanceof StepNotRecordedError) return 'uncertain';
  const status = statusOf(error);
  return status !== undefined && status >= 400 && status < 500 && !TRANSIENT.has(status)
    ? 'replay'
    : 'release';
}

/** Applies `onError`. A hook that itself fails, or gives another word, decides nothing: the outcome is then uncertain. */
export function decide(
  onError: OnError,
  error: unknown,
  call: IdempotentCall,
  report: (message: string) => void,
): ErrorDecision {
  let decision: ErrorDecision;
  try {
    decision = typeof onError === 'function' ? onError(error, call) : onError;
    if (!isErrorDecision(decision)) throw new Error(`it returned ${describe(decision)}`);
  } catch (failure) {
    report(`onError of ${call.scope} failed, the outcome counts as uncertain: ${String(failure)}`);
    return 'uncertain';
  }
  return decision === 'replay' && isNeverStored(statusOf(error) ?? 0) ? 'release' : decision;
}

export function isErrorDecision(value: unknown): value is ErrorDecision {
  return value === 'release' || value === 'replay' || value === 'uncertain';
}

function describe(value: unknown): string {
  // Of an asynchronous hook; what becomes of it is too late.
  if (value instanceof Promise) value.catch(() => undefined);
  return typeof value === 'string' ? JSON.stringify(value) : Object.prototype.toString.call(value);
}

function statusOf(error: unknown): number | undefined {
  const { getStatus } = Object(error) as { getStatus?: unknown };
  const status: unknown = typeof getStatus === 'function' ? getStatus.call(error) : undefined;
  return typeof status === 'number' ? status : undefined;
}
