import type { ExecutionContext } from '@nestjs/common';
import { type IdempotentCall, localCall } from '../idempotency.call.js';

/** What is used of the HTTP request of a GraphQL operation. */
interface RequestLike {
  readonly user?: unknown;
  readonly headers?: unknown;
  /** A list when several operations come in one request: then nothing tells which of them this is. */
  readonly body?: { readonly extensions?: { readonly idempotencyKey?: unknown } };
}

interface ContextLike {
  readonly req?: RequestLike;
}

/** What is used of the `info` of a resolver. */
interface InfoLike {
  readonly path: PathLike;
}

interface PathLike {
  readonly prev: PathLike | undefined;
  readonly key: string | number;
}

/** A field that a resolver is asked for. */
export interface GraphqlField {
  readonly call: IdempotentCall;
  /** The same object however often this field of this operation is tried. */
  readonly info: object;
  /** What one key is sent with: the operation, or several of them in one request. */
  readonly operation: object;
}

/**
 * A field as a call. `request` is the HTTP request as Nest's drivers put it into the context (`req`), else the context;
 * `payload` and `args` are the arguments, which also makes them, and not what is selected, the fingerprint.
 */
export function graphqlField(context: ExecutionContext, scope: string): GraphqlField {
  const [, args, ofRequest, info] = context.getArgs<[unknown, unknown, ContextLike?, InfoLike?]>();
  const graphql: ContextLike = Object(ofRequest);
  const request: RequestLike = Object(graphql.req ?? graphql);
  const { body, headers, user } = request;
  const call = localCall({
    transport: 'graphql',
    scope,
    request,
    user,
    body,
    headers,
    args,
    payload: args,
    idempotencyKey: body?.extensions?.idempotencyKey,
    ...(info ? { path: pathOf(info.path) } : {}),
  });
  return { call, info: info ?? context, operation: Object(body?.extensions ?? request) };
}

function pathOf({ prev, key }: PathLike): string {
  return prev ? `${pathOf(prev)}.${key}` : String(key);
}
