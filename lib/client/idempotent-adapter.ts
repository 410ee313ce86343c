import { type Answer, untilAnswered } from './outgoing-call.js';
import { checkReplayable, outgoingKey, requestName } from './outgoing-key.js';
import { checkedOptions, type OutgoingOptions } from './outgoing.options.js';

interface AxiosFields {
  get(name: string): unknown;
}

/** What is used of the configuration Axios gives to an adapter. */
export interface AxiosConfig {
  url?: string;
  baseURL?: string;
  method?: string;
  data?: unknown;
  headers: AxiosFields;
  responseType?: string;
  signal?: unknown;
}

/** What is used of an answer of Axios. */
export interface AxiosResponse {
  status: number;
  headers: unknown;
  data: unknown;
}

const STREAMED: ReadonlySet<unknown> = new Set(['stream', 'response']);

/** Codes of Axios for requests that were never sent, or can never succeed. */
const NEVER: ReadonlySet<unknown> = new Set([
  ...[
    'ERR_BAD_OPTION',
    'ERR_BAD_OPTION_VALUE',
    'ERR_BAD_REQUEST',
    'ERR_DEPRECATED',
    'ERR_FORM_DATA_DEPTH_EXCEEDED',
  ],
  ...['ERR_FR_TOO_MANY_REDIRECTS', 'ERR_INVALID_URL', 'ERR_NOT_SUPPORT'],
]);

/**
 * An adapter for Axios around one of its own, `axios.create({ adapter: idempotentAdapter(axios.getAdapter('http')) })`, that
 * does for it what `idempotentFetch` does for `fetch`. It is below all interceptors and transformations: they see one
 * request and one answer. Axios's `timeout` is for an attempt, like `attemptTimeoutMs`.
 *
 * @throws TypeError here for a wrong option; the call rejects with one for a request without a key, with a key that is no
 *   key, or with a stream for a body or an answer; with `NoAnswerError` in the end, else with what Axios would.
 */
export function idempotentAdapter<C extends AxiosConfig, R extends AxiosResponse>(
  adapter: (config: C) => Promise<R>,
  options: OutgoingOptions = {},
): (config: C) => Promise<R> {
  if (typeof adapter !== 'function')
    throw new TypeError(`adapter is ${String(adapter)}; it must be a function: axios.getAdapter('http')`);
  const checked = checkedOptions(options);

  return async (config) => {
    checkReplayable(config.data);
    if (STREAMED.has(config.responseType))
      throw new TypeError(
        `responseType is ${config.responseType}; it must be another one: what has not come to its end may still get lost`,
      );
    const method = (config.method ?? 'get').toUpperCase();
    return untilAnswered(
      {
        request: requestName(method, addressOf(config)),
        key: outgoingKey(method, checked.header, fieldOf(config.headers, checked.header)),
        signal: config.signal as AbortSignal | undefined,
        send: (signal) => adapter({ ...config, signal }).then(accepted<R>, refused<R>),
        isLost,
      },
      checked,
    );
  };
}

function accepted<R extends AxiosResponse>(response: R): Answer<R> {
  return answerOf(response, () => response);
}

/** What `validateStatus` refuses is an answer too, one that Axios throws. One that broke off has no data. */
function refused<R extends AxiosResponse>(error: unknown): Answer<R> {
  const response = (error as { response?: R } | undefined)?.response;
  if (response?.data === undefined) throw error;
  return answerOf(response, () => {
    throw error;
  });
}

function answerOf<R extends AxiosResponse>({ status, headers }: R, settle: () => R): Answer<R> {
  const header = (name: string) => fieldOf(headers as AxiosFields, name);
  return { status, header, settle };
}

/** Axios gives a field that is there several times as a list. */
function fieldOf(headers: AxiosFields, name: string): string | undefined {
  const value = headers.get(name) as string | number | boolean | string[] | null | undefined;
  return value === undefined || value === null ? undefined : String(value);
}

function isLost(error: unknown): boolean {
  const { isAxiosError, code } = (error ?? {}) as { isAxiosError?: boolean; code?: unknown };
  return isAxiosError === true && code !== 'ERR_CANCELED' && !NEVER.has(code);
}

function addressOf({ url = '', baseURL = '' }: AxiosConfig): string {
  const isAbsolute = baseURL === '' || /^([a-z][a-z\d+.-]*:)?\/\//i.test(url);
  return isAbsolute ? url : `${baseURL.replace(/\/$/, '')}/${url.replace(/^\//, '')}`;
}
