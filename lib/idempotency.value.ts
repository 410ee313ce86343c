import { deserialize, serialize } from 'node:v8';
import { HttpException } from '@nestjs/common';
import type { Outcome } from './idempotency.frame.js';
import { IdempotencyError } from './idempotency.errors.js';
import type { StoredResponse } from './stores/result-store.js';
import { rpcAnswerOf, rpcException } from './transports/rpc-exception.js';

/** Recorded without a body: duplicates are refused, nothing runs again. */
export const NOT_REPLAYABLE: StoredResponse = { status: null, headers: {}, body: null };

type Encoded = { value: unknown } | { error: DescribedError };

interface DescribedError {
  name: string;
  message: string;
  /** Of an `HttpException`. */
  status?: number;
  response?: unknown;
  /** Of an `RpcException` or a `WsException`. */
  rpc?: string | object;
  /** Of a `GraphQLError`. */
  extensions?: object;
}

/**
 * Stores what a method returned or threw. Structured clone, not JSON: dates, big integers, maps, bytes and
 * circular data come back as they were; class instances come back as plain objects.
 *
 * @returns an answer without a body for what cannot be cloned or is larger than `maxBytes`.
 */
export function encodeOutcome(outcome: Outcome, maxBytes: number): StoredResponse {
  const encoded: Encoded = 'value' in outcome ? { value: outcome.value } : { error: describe(outcome.error) };
  let body: Buffer;
  try {
    body = serialize(encoded);
  } catch {
    return NOT_REPLAYABLE; // functions, sockets: the work is done all the same
  }
  return body.length > maxBytes ? NOT_REPLAYABLE : { status: null, headers: {}, body };
}

/**
 * @throws IdempotencyError `response-not-replayable` for an answer of another kind, or of a newer Node.
 */
export function decodeOutcome(response: StoredResponse): Outcome {
  let encoded: Encoded | undefined;
  try {
    if (response.status === null && response.body) encoded = deserialize(response.body) as Encoded;
  } catch (cause) {
    throw new IdempotencyError('response-not-replayable', { cause });
  }
  if (!encoded) throw new IdempotencyError('response-not-replayable');
  return 'value' in encoded ? encoded : { error: revive(encoded.error) };
}

/** A value as its replay will be: without classes, getters and methods. One that cannot be stored stays as it is. */
export function asReplayed(value: unknown): unknown {
  const { body } = encodeOutcome({ value }, Infinity);
  return body ? (deserialize(body) as { value: unknown }).value : value;
}

/** Whether what an interceptor or serializer would make of the data does not depend on its classes. */
export function isPlainData(value: unknown, depth = 0): boolean {
  if (typeof value === 'function' || typeof value === 'symbol' || depth > 64) return false;
  if (typeof value !== 'object' || value === null) return true;
  if (Array.isArray(value)) return value.every((item) => isPlainData(item, depth + 1));
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return value instanceof Date;
  return Object.values(value).every((item) => isPlainData(item, depth + 1));
}

function describe(error: unknown): DescribedError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  const { name, message } = error;
  const { extensions } = error as { extensions?: unknown };
  const described: DescribedError = { name, message };
  if (typeof extensions === 'object' && extensions !== null) described.extensions = { ...extensions };
  if (error instanceof HttpException) {
    return { ...described, status: error.getStatus(), response: error.getResponse() };
  }
  const rpc = rpcAnswerOf(error);
  return rpc === undefined ? described : { ...described, rpc };
}

function revive({ name, message, status, response, rpc, extensions }: DescribedError): Error {
  if (rpc !== undefined) return rpcException(rpc, message);
  const error =
    status === undefined
      ? new Error(message)
      : new HttpException((response as string | Record<string, unknown> | undefined) ?? message, status);
  error.name = name;
  error.message = message;
  return extensions ? Object.assign(error, { extensions }) : error;
}
