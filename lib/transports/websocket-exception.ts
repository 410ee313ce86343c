import type { ExecutionContext } from '@nestjs/common';
import { IdempotencyError } from '../idempotency.errors.js';
import { ifInstalled } from './optional-package.js';
import { rpcAnswerOf } from './rpc-exception.js';

/** What is used of `@nestjs/websockets`, which is optional. */
interface Websockets {
  readonly WsException: new (error: string | object) => Error & { getError(): string | object };
}

let loaded: Websockets | undefined;

/** Where the package is not installed there are no gateways either. */
export async function loadWebsockets(): Promise<void> {
  loaded = await ifInstalled<Websockets>('@nestjs/websockets', () => import('@nestjs/websockets'));
}

/**
 * An error as gateways tell it: a refusal is a `WsException` with the problem, when it is worth trying again, and the
 * message it is about, as Nest adds it; a recorded `WsException` is one again.
 */
export function wsError(error: unknown, context: ExecutionContext): unknown {
  if (!loaded || !(error instanceof Error) || error instanceof loaded.WsException) return error;
  const answer = error instanceof IdempotencyError ? refusalOf(error, context) : rpcAnswerOf(error);
  if (answer === undefined) return error;
  const exception = new loaded.WsException(answer);
  exception.message = error.message;
  exception.cause = error;
  return exception;
}

function refusalOf({ extensions }: IdempotencyError, context: ExecutionContext): object {
  const ws = context.switchToWs();
  return { ...extensions, cause: { pattern: ws.getPattern(), data: ws.getData<unknown>() } };
}
