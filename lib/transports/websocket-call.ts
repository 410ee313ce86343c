import type { ExecutionContext } from '@nestjs/common';
import { type IdempotentCall, localCall } from '../idempotency.call.js';

/** What is used of a client's socket. */
interface ClientLike {
  readonly user?: unknown;
  /** Of Socket.IO: what the application keeps with the socket. */
  readonly data?: { readonly user?: unknown };
}

/** A message of a gateway as a call. `request` is the socket: its headers are those of the connection, not of the message. */
export function websocketCall(context: ExecutionContext, scope: string): IdempotentCall {
  const ws = context.switchToWs();
  const client: ClientLike = Object(ws.getClient());
  const payload = ws.getData<{ readonly idempotencyKey?: unknown } | null | undefined>();
  return localCall({
    transport: 'ws',
    scope,
    request: client,
    user: client.user ?? client.data?.user,
    payload,
    args: context.getArgs(),
    idempotencyKey: payload?.idempotencyKey,
  });
}
