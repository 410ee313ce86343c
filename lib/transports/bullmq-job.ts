import { type IdempotentCall, localCall } from '../idempotency.call.js';

/** What is used of a job of BullMQ, which is optional. */
export interface Job {
  readonly id?: string;
  readonly data: unknown;
  readonly queueName: string;
  /** Of the worker that is at it; a job that was looked up has none. */
  readonly token: string;
  moveToDelayed(timestamp: number, token: string): Promise<void>;
}

/** The job that a worker handles by this call; undefined for a call of any other kind. */
export function jobOf(args: readonly unknown[]): Job | undefined {
  const first = args[0] as Partial<Job> | null | undefined;
  return typeof first === 'object' &&
    typeof first?.moveToDelayed === 'function' &&
    typeof first.token === 'string'
    ? (first as Job)
    : undefined;
}

/** A job as a call: its data is the payload, it itself the request. */
export function jobCall(job: Job, scope: string, args: readonly unknown[]): IdempotentCall {
  return localCall({
    transport: 'job',
    scope,
    payload: job.data,
    args,
    request: job,
    messageId: job.id,
  });
}

/**
 * BullMQ tells it by its name: the job is where it was moved to, and no attempt was made.
 *
 * @param cause why it comes again later.
 */
export function delayedError(cause: unknown): Error {
  return named('DelayedError', 'The job comes again later', cause);
}

/** BullMQ tells it by its name: the job has failed, and is not tried again. Looks like `error` otherwise. */
export function unrecoverableError(error: unknown): Error {
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  const unrecoverable = named('UnrecoverableError', message, error);
  if (stack !== undefined) unrecoverable.stack = stack;
  return unrecoverable;
}

function named(name: string, message: string, cause: unknown): Error {
  return Object.assign(new Error(message, { cause }), { name });
}
