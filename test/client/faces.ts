import axios, { type InternalAxiosRequestConfig } from 'axios';
import {
  idempotentAdapter,
  idempotentFetch,
  type IdempotentFetchOptions,
  type OutgoingOptions,
} from 'nestjs-idempotent/client';

export interface Sending {
  readonly method?: string;
  /** Null: none. */
  readonly key?: string | null;
  readonly body?: NonNullable<RequestInit['body']>;
  readonly signal?: AbortSignal;
}

export interface Received {
  readonly status: number;
  readonly text: string;
  readonly isReplayed: boolean;
}

/** The one engine by one of its faces. A status that Axios throws is received like any other. */
export type Send = (url: string, sending?: Sending) => Promise<Received>;

/** Fast enough for a test: waits are short, and there are many attempts. */
export const QUICK: OutgoingOptions = { attempts: 30, backoffMs: 20, maxBackoffMs: 100 };

const fieldsOf = ({ key = 'key-1' }: Sending): Record<string, string> => ({
  'content-type': 'application/json',
  ...(key === null ? {} : { 'idempotency-key': key }),
});
const bodyOf = ({ method = 'POST', body = '{"amount":100}' }: Sending) =>
  method === 'GET' ? undefined : body;

function byFetch(options: IdempotentFetchOptions = QUICK): Send {
  const send = idempotentFetch(options);
  return async (url, sending = {}) => {
    const { method = 'POST', signal } = sending;
    const response = await send(url, { method, headers: fieldsOf(sending), body: bodyOf(sending), signal });
    const isReplayed = response.headers.get('idempotent-replayed') === 'true';
    return { status: response.status, text: await response.text(), isReplayed };
  };
}

function byAxios(options: OutgoingOptions = QUICK): Send {
  const adapter = idempotentAdapter<InternalAxiosRequestConfig, any>(axios.getAdapter('http'), options);
  const client = axios.create({ adapter, transformResponse: (text) => text });
  return async (url, sending = {}) => {
    const { method = 'POST', signal } = sending;
    const response = await client
      .request({ url, method, headers: fieldsOf(sending), data: bodyOf(sending), signal })
      .catch((error: unknown) => {
        if (axios.isAxiosError(error) && error.response) return error.response;
        throw error;
      });
    const isReplayed = response.headers['idempotent-replayed'] === 'true';
    return { status: response.status, text: response.data, isReplayed };
  };
}

export const FACES: [name: string, face: (options?: OutgoingOptions) => Send][] = [
  ['fetch', byFetch],
  ['axios', byAxios],
];
