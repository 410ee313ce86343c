import type { ExecutionContext } from '@nestjs/common';
import { type IdempotentCall, localCall } from '../idempotency.call.js';

/** What a transport tells of a message beside its payload. */
export interface RpcMessage {
  /** As they were sent, and once more in lower case; bytes as text. */
  readonly headers: Readonly<Record<string, unknown>>;
  /**
   * `messageId` of RabbitMQ, `Nats-Msg-Id` of NATS, `topic/partition/offset` of Kafka. Other transports have none: the
   * number of an MQTT packet is used again.
   */
  readonly messageId: string | undefined;
}

/** The contexts of `@nestjs/microservices`, told apart by what they can do: the package is optional. */
interface RpcContextLike {
  getChannelRef?(): unknown;
  getMessage?(): {
    properties?: { headers?: Headers; messageId?: unknown };
    headers?: Headers;
    offset?: unknown;
  };
  getPartition?(): number;
  getTopic?(): string;
  getPacket?(): { properties?: { userProperties?: Headers } } | undefined;
  getSubject?(): string;
  getHeaders?(): Headers | Iterable<readonly [string, unknown]> | undefined;
  getMetadata?(): Headers | undefined;
}

type Headers = Readonly<Record<string, unknown>>;

/** A message as a call. `request` is the context of its transport. */
export function rpcCall(context: ExecutionContext, scope: string): IdempotentCall {
  const rpc = context.switchToRpc();
  const request: object = Object(rpc.getContext());
  const { headers, messageId } = messageOf(request);
  const payload: unknown = rpc.getData();
  return localCall({
    transport: 'rpc',
    scope,
    payload,
    args: context.getArgs(),
    request,
    headers,
    messageId,
  });
}

/** @param context what `@Ctx()` gives a handler. */
export function messageOf(context: object): RpcMessage {
  const like = context as RpcContextLike;
  if (like.getChannelRef) return rabbitMessage(like.getMessage?.());
  if (like.getPartition) {
    const { headers, offset } = like.getMessage?.() ?? {};
    return {
      headers: readable(headers),
      messageId: `${like.getTopic?.()}/${like.getPartition()}/${String(offset)}`,
    };
  }
  if (like.getPacket) {
    return { headers: readable(like.getPacket()?.properties?.userProperties), messageId: undefined };
  }
  if (like.getSubject) {
    const headers = readable(like.getHeaders?.());
    return { headers, messageId: textOf(headers['nats-msg-id']) };
  }
  return { headers: readable(like.getMetadata?.()), messageId: undefined };
}

/** @param message as amqplib gives it. */
export function rabbitMessage(
  message: { properties?: { headers?: Headers; messageId?: unknown } } | undefined,
): RpcMessage {
  const { headers, messageId } = message?.properties ?? {};
  return { headers: readable(headers), messageId: textOf(messageId) };
}

function readable(headers: Headers | Iterable<readonly [string, unknown]> | undefined): Headers {
  // No prototype: a template must not find `constructor` where there is no such header.
  const names = Object.create(null) as Record<string, unknown>;
  if (!headers) return names;
  const entries = Symbol.iterator in headers ? [...headers] : Object.entries(headers);
  for (const [name, value] of entries) names[name.toLowerCase()] = valueOf(value);
  for (const [name, value] of entries) names[name] = valueOf(value);
  return names;
}

/** Kafka has bytes, NATS a list for each name. */
function valueOf(value: unknown): unknown {
  if (Array.isArray(value) && value.length === 1) return valueOf(value[0]);
  return Buffer.isBuffer(value) ? value.toString('utf8') : value;
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
