import { IdempotencyError } from '../idempotency.errors.js';
import { ifInstalled } from './optional-package.js';

/** What is used of `@nestjs/microservices`, which is optional. */
export interface Microservices {
  readonly RpcException: new (error: string | object) => Error & { getError(): string | object };
  readonly KafkaRetriableException: new (error: string | object) => Error;
  readonly ServerRMQ: { readonly prototype: object };
}

let loaded: Microservices | undefined;

/** @returns undefined where the package is not installed: then there are no messages either. */
export async function loadMicroservices(): Promise<Microservices | undefined> {
  loaded = await ifInstalled<Microservices>('@nestjs/microservices', () => import('@nestjs/microservices'));
  return loaded;
}

/** The exception whose `getError()` is what the caller gets. */
export function rpcException(answer: string | object, message: string, cause?: unknown): Error {
  const Exception = loaded?.RpcException;
  const error = Exception
    ? new Exception(answer)
    : Object.assign(new Error(message), { getError: () => answer });
  error.message = message;
  if (cause !== undefined) error.cause = cause;
  return error;
}

/** A refusal as callers of a message handler get it: the problem, and when it is worth trying again. */
export function rpcRefusal(error: unknown): unknown {
  return error instanceof IdempotencyError ? rpcException(error.extensions, error.message, error) : error;
}

/** Has Kafka deliver the message again, in its place and after the pause of its client. */
export function kafkaRetry(error: unknown): unknown {
  const Exception = loaded?.KafkaRetriableException;
  if (!Exception) return error;
  const message = error instanceof Error ? error.message : String(error);
  return Object.assign(new Exception(message), { cause: error });
}

/** What an `RpcException` or a `WsException`, and nothing else, says; to be recorded. */
export function rpcAnswerOf(error: Error): string | object | undefined {
  const { getError, getStatus } = error as { getError?: unknown; getStatus?: unknown };
  if (typeof getError !== 'function' || typeof getStatus === 'function') return undefined;
  const answer: unknown = getError.call(error);
  if (answer === error) return undefined;
  return typeof answer === 'string' || (typeof answer === 'object' && answer !== null) ? answer : undefined;
}
