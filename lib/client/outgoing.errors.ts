export interface NoAnswerDetails {
  /** Method and address, without the query. */
  readonly request: string;
  /** Undefined for a GET without one. */
  readonly key: string | undefined;
  readonly attempts: number;
  /** What ended it. */
  readonly limit: 'attempts' | 'deadlineMs';
  /** Since the first attempt, in milliseconds. */
  readonly elapsedMs: number;
  /** Of the last answer; undefined when the last attempt had none. */
  readonly status: number | undefined;
  /** Why the last attempt had no answer. */
  readonly cause?: unknown;
}

/**
 * No attempt had an answer that says what became of the request. **It may have been done.** To find out, send the same
 * once more with the same key; with another key it may be done twice.
 */
export class NoAnswerError extends Error {
  override readonly name = 'NoAnswerError';
  readonly request: string;
  readonly key: string | undefined;
  readonly attempts: number;
  readonly limit: 'attempts' | 'deadlineMs';
  readonly elapsedMs: number;
  readonly status: number | undefined;

  constructor({ request, key, attempts, limit, elapsedMs, status, cause }: NoAnswerDetails) {
    const keyed = key === undefined ? '' : ` with key ${key}`;
    const tried = `${attempts} attempt${attempts === 1 ? '' : 's'} in ${elapsedMs} ms (${limit} is over)`;
    const last = status === undefined ? reasonOf(cause) : `status ${status}`;
    super(`${request}${keyed} had no answer after ${tried}; the last: ${last}`, { cause });
    this.request = request;
    this.key = key;
    this.attempts = attempts;
    this.limit = limit;
    this.elapsedMs = elapsedMs;
    this.status = status;
  }
}

/** `fetch` says "fetch failed" to everything; what has happened is its cause. */
function reasonOf(error: unknown): string {
  const { message, code, cause } = (error ?? {}) as Partial<NodeJS.ErrnoException>;
  return cause ? reasonOf(cause) : message || code || String(error);
}
