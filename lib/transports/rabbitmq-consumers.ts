import type { Microservices } from './rpc-exception.js';

export interface RabbitMessage {
  readonly content: Buffer;
  readonly fields: { readonly deliveryTag: number; exchange: string; routingKey: string };
  readonly properties: { readonly headers?: Record<string, unknown>; replyTo?: unknown } & Record<
    string,
    unknown
  >;
}

/** What is used of a channel of amqplib. */
export interface RabbitChannel {
  ack(message: RabbitMessage, allUpTo?: boolean): void;
  nack(message: RabbitMessage, allUpTo?: boolean, requeue?: boolean): void;
  reject(message: RabbitMessage, requeue?: boolean): void;
}

/** A channel of which the broker confirms what it has taken. */
export interface ConfirmChannel {
  assertQueue(queue: string, options: object): Promise<unknown>;
  publish(
    exchange: string,
    routingKey: string,
    content: Buffer,
    options: object,
    confirmed: (error: unknown) => void,
  ): boolean;
  on(event: 'close' | 'error', listener: () => void): unknown;
  off(event: 'close', listener: () => void): unknown;
}

export interface RabbitConnection {
  createConfirmChannel(): Promise<ConfirmChannel>;
}

/** Where a channel gets its messages from. */
export interface RabbitConsumer {
  readonly queue: string;
  /** The broker takes a message for done as soon as it is sent; acknowledging it is an error. */
  readonly isAutomatic: boolean;
  /** undefined while there is none. */
  connection(): RabbitConnection | undefined;
}

interface ServerLike {
  setupChannel: (this: ServerLike, channel: ConsumingChannel, callback: unknown) => unknown;
  unwrap(): { connection?: RabbitConnection | undefined };
}

interface ConsumingChannel {
  consume(queue: string, onMessage: unknown, options?: { noAck?: boolean }): unknown;
}

const consumers = new WeakMap<object, RabbitConsumer>();
const PATCHED = Symbol.for('nestjs-idempotent:rabbitmq');

/**
 * Has every RabbitMQ server of `@nestjs/microservices` tell what its channels consume. Neither the context of a message
 * nor its channel knows the queue it came from, or whether it is to be acknowledged, and acknowledging what is not
 * to be ends the channel.
 */
export function watchConsumers({ ServerRMQ }: Microservices): void {
  const prototype = ServerRMQ.prototype as ServerLike & { [PATCHED]?: true };
  if (prototype[PATCHED] || typeof prototype.setupChannel !== 'function') return;
  const { setupChannel } = prototype;
  prototype.setupChannel = function (this: ServerLike, channel, callback) {
    const consume = channel.consume.bind(channel);
    channel.consume = (queue, onMessage, options) => {
      consumers.set(channel, {
        queue,
        isAutomatic: options?.noAck === true,
        connection: () => this.unwrap().connection,
      });
      return consume(queue, onMessage, options);
    };
    return setupChannel.call(this, channel, callback);
  };
  Object.defineProperty(prototype, PATCHED, { value: true });
}

/** undefined for a channel that was not opened by `ServerRMQ`. */
export function consumerOf(channel: object): RabbitConsumer | undefined {
  return consumers.get(channel);
}
