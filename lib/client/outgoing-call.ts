import { setTimeout as sleep } from 'node:timers/promises';
import { NoAnswerError } from './outgoing.errors.js';
import type { AnswerHead, OutgoingOptions } from './outgoing.options.js';
import { retryAfterMs } from './retry-after.js';

/** A complete answer: all of its body is here. */
export interface Answer<A> {
  readonly status: number;
  header(name: string): string | undefined;
  /** What the caller is given, or an error he is. */
  settle(): A;
}

/** A request that can be sent again, the same in every byte. */
export interface OutgoingCall<A> {
  /** Method and address, for people. */
  readonly request: string;
  readonly key: string | undefined;
  /** The caller's. */
  readonly signal: AbortSignal | undefined;
  /** Rejects when there is no complete answer, and when the signal aborts. */
  send(signal: AbortSignal): Promise<Answer<A>>;
  /** Whether the network is to blame for what `send` rejected with; else the call is wrong. */
  isLost(error: unknown): boolean;
}

/** What an attempt came to that is worth another one. */
interface Setback {
  readonly status: number | undefined;
  readonly retryAfterMs: number | undefined;
  readonly cause?: unknown;
}

/** What a test decides itself. */
export interface Chance {
  /** From 0 to 1. */
  readonly random: () => number;
  readonly pause: (ms: number, signal: AbortSignal | undefined) => Promise<void>;
}

/**
 * Sends until there is an answer. Between attempts it waits as long as `Retry-After` says, and a random part of a time that
 * doubles ("full jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
 *
 * @throws NoAnswerError when attempts or time are used up; the signal's reason when it aborts; what `isLost` disowns.
 */
export async function untilAnswered<A>(
  call: OutgoingCall<A>,
  options: Required<OutgoingOptions>,
  { random, pause }: Chance = { random: Math.random, pause: untilLater },
): Promise<A> {
  const begun = performance.now();
  const left = () => Math.floor(options.deadlineMs - (performance.now() - begun));
  for (let attempts = 1; ; attempts++) {
    const setback = await attempt(call, options, Math.min(options.attemptTimeoutMs, left()));
    if ('settle' in setback) return setback.settle();
    const { retryAfterMs: atLeast = 0 } = setback;
    if (attempts === options.attempts || atLeast >= left()) {
      const { request, key } = call;
      const limit = attempts === options.attempts ? 'attempts' : 'deadlineMs';
      const elapsedMs = Math.round(performance.now() - begun);
      const { status, cause } = setback;
      throw new NoAnswerError({ request, key, attempts, limit, elapsedMs, status, cause });
    }
    // Half of the time that is left belongs to the attempt.
    const longest = Math.min(
      options.maxBackoffMs,
      options.backoffMs * 2 ** (attempts - 1),
      (left() - atLeast) / 2,
    );
    await pause(atLeast + random() * longest, call.signal);
  }
}

async function attempt<A>(
  call: OutgoingCall<A>,
  { retryable }: Required<OutgoingOptions>,
  timeoutMs: number,
): Promise<Answer<A> | Setback> {
  call.signal?.throwIfAborted();
  const controller = new AbortController();
  const giveUp = () =>
    controller.abort(new DOMException(`no complete answer within ${timeoutMs} ms`, 'TimeoutError'));
  const abort = () => controller.abort(call.signal!.reason);
  const timer = setTimeout(giveUp, timeoutMs);
  call.signal?.addEventListener('abort', abort, { once: true });
  let answer: Answer<A>;
  try {
    answer = await call.send(controller.signal);
  } catch (error) {
    call.signal?.throwIfAborted();
    const cause = controller.signal.aborted ? controller.signal.reason : error;
    if (cause === error && !call.isLost(error)) throw error;
    return { status: undefined, retryAfterMs: undefined, cause };
  } finally {
    clearTimeout(timer);
    call.signal?.removeEventListener('abort', abort);
  }
  const head = headOf(answer);
  return retryable(head) ? { status: head.status, retryAfterMs: head.retryAfterMs } : answer;
}

function headOf(answer: Answer<unknown>): AnswerHead {
  const header = (name: string) => answer.header(name);
  return { status: answer.status, header, retryAfterMs: retryAfterMs(header('retry-after'), header('date')) };
}

async function untilLater(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(ms, undefined, signal && { signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}
