import { isNeverStored } from './idempotency.call.js';
import { IdempotencyOptionsError } from './idempotency.errors.js';
import { encodeOutcome } from './idempotency.value.js';
import type { StoredResponse } from './stores/result-store.js';
import { isForbiddenHeader } from './transports/response-headers.js';

/** What duplicates get from now on, for an HTTP handler. */
export interface HttpAnswer {
  /** 200 to 599; none of those that are never stored: 401 403 408 425 429. */
  readonly status: number;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  /** Bytes and text as they are, anything else as JSON. @default nothing */
  readonly body?: unknown;
}

/** What duplicates get from now on: the value a method, a message handler or a service call would have returned. */
export interface ValueAnswer {
  readonly value: unknown;
}

/** What duplicates get from now on: the error it would have thrown. */
export interface ErrorAnswer {
  readonly error: Error;
}

/**
 * An answer that somebody gives in place of the work. An HTTP handler takes each of them: of a value or an error its
 * interceptors, serializers and filters make the answer, as they would have of the handler's own.
 */
export type GivenAnswer = HttpAnswer | ValueAnswer | ErrorAnswer;

/**
 * The answer as it is stored.
 *
 * @throws IdempotencyOptionsError saying what is wrong with it; never what is in it.
 */
export function responseOf(answer: GivenAnswer, maxBytes: number, where: string): StoredResponse {
  const wrong = (what: string) => new IdempotencyOptionsError(`${where}: ${what}`);
  if (typeof answer !== 'object' || answer === null) {
    throw wrong(`the answer is a ${answer === null ? 'null' : typeof answer}; ${SHAPE}`);
  }
  const kinds = ['status', 'value', 'error'].filter((kind) => kind in answer);
  if (kinds.length !== 1)
    throw wrong(`the answer has ${kinds.join(' and ') || 'none'} of the three; ${SHAPE}`);
  if ('error' in answer && !(answer.error instanceof Error)) {
    throw wrong(`error is a ${typeof answer.error}; it must be an Error, such as new ConflictException('…')`);
  }
  const response = 'status' in answer ? httpResponseOf(answer, wrong) : encodeOutcome(answer, Infinity);
  if (!response.body) throw wrong('the value cannot be stored; it must be what structuredClone can copy');
  if (response.body.length > maxBytes) {
    throw wrong(
      `the answer has ${response.body.length} bytes; it must have at most maxResponseBytes, which is ${maxBytes}`,
    );
  }
  return response;
}

const SHAPE =
  'it must be { status, headers?, body? } for an HTTP handler, or { value } or { error } for any handler or method';

function httpResponseOf(
  { status, headers = {}, body }: HttpAnswer,
  wrong: (what: string) => Error,
): StoredResponse {
  if (!Number.isInteger(status) || status < 200 || status > 599 || isNeverStored(status)) {
    throw wrong(
      `status is ${String(status)}; it must be from 200 to 599 and none of 401, 403, 408, 425, 429`,
    );
  }
  const stored: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(headers)) {
    const isText =
      typeof value === 'string' || (Array.isArray(value) && value.every((v) => typeof v === 'string'));
    if (!isText) throw wrong(`header ${name} must be a text or a list of texts`);
    if (isForbiddenHeader(name)) throw wrong(`header ${name} is never replayed; leave it out`);
    stored[name.toLowerCase()] = typeof value === 'string' ? value : [...value];
  }
  if (body === undefined) return { status, headers: stored, body: Buffer.alloc(0) };
  if (body instanceof Uint8Array) return { status, headers: { ...OCTETS, ...stored }, body };
  if (typeof body === 'string') return { status, headers: { ...TEXT, ...stored }, body: Buffer.from(body) };
  return { status, headers: { ...JSON_TYPE, ...stored }, body: Buffer.from(jsonOf(body, wrong)) };
}

const OCTETS = { 'content-type': 'application/octet-stream' };
const TEXT = { 'content-type': 'text/plain; charset=utf-8' };
const JSON_TYPE = { 'content-type': 'application/json; charset=utf-8' };

function jsonOf(body: unknown, wrong: (what: string) => Error): string {
  let json: string | undefined;
  try {
    json = JSON.stringify(body);
  } catch {
    json = undefined;
  }
  if (json === undefined) throw wrong('the body cannot be made into JSON; give bytes or a text');
  return json;
}
