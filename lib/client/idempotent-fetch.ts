import { type Answer, untilAnswered } from './outgoing-call.js';
import { checkReplayable, outgoingKey, requestName } from './outgoing-key.js';
import { checkedOptions, type OutgoingOptions } from './outgoing.options.js';

export interface IdempotentFetchOptions extends OutgoingOptions {
  /** What sends. @default the global `fetch` */
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

/** `fetch`, but for a `Request` as its first argument: the body of one can be sent once only. */
export type IdempotentFetch = (url: string | URL, init?: RequestInit) => Promise<Response>;

/** Statuses whose answers have no body, not even an empty one. */
const WITHOUT_BODY: ReadonlySet<number> = new Set([204, 205, 304]);

/**
 * A `fetch` that sends again what got lost, with the same `Idempotency-Key` and the same bytes, until it is answered: after
 * lost connections and replies, time-outs, and answers that `isRetryable` names. Any other answer is returned as `fetch`
 * does, when all of its body is here.
 *
 * The signal of a call ends it at once, also between attempts; like a `NoAnswerError` that says nothing about what the
 * server has done.
 *
 * @throws TypeError here for a wrong option; the call rejects with one for a request without a key, with a key that is no
 *   key, with a stream for a body, or that `fetch` could not send at all; with `NoAnswerError` in the end.
 */
export function idempotentFetch(options: IdempotentFetchOptions = {}): IdempotentFetch {
  const checked = checkedOptions(options);
  const { fetch = globalThis.fetch } = options;
  if (typeof fetch !== 'function')
    throw new TypeError(`fetch is ${String(fetch)}; it must be a function like the global fetch`);

  return async (url, init = {}) => {
    if (typeof url !== 'string' && !('href' in url))
      throw new TypeError(
        'The address must be a string or a URL: the body of a Request can be sent once only',
      );
    checkReplayable(init.body);
    // Finds what is wrong before anything is sent, and makes bytes of the body, which nobody can change any more.
    const request = new Request(url, init);
    const { method, headers } = request;
    const key = outgoingKey(method, checked.header, headers.get(checked.header));
    const body = request.body && new Uint8Array(await request.arrayBuffer());
    return untilAnswered(
      {
        request: requestName(method, request.url),
        key,
        signal: init.signal ?? undefined,
        send: async (signal) =>
          complete(await fetch(request.url, { ...init, method, headers, body, signal })),
        isLost: () => true,
      },
      checked,
    );
  };
}

/** Reads the answer to its end: before it is there, the reply may still be lost. */
async function complete(response: Response): Promise<Answer<Response>> {
  const { status, statusText, headers, url, redirected } = response;
  const bytes = await response.arrayBuffer();
  const settle = () => {
    const body = WITHOUT_BODY.has(status) ? null : bytes;
    const whole = new Response(body, { status, statusText, headers });
    return Object.defineProperties(whole, { url: { value: url }, redirected: { value: redirected } });
  };
  return { status, header: (name) => headers.get(name) ?? undefined, settle };
}
