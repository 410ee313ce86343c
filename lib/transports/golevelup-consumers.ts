import type { RabbitChannel, RabbitConnection, RabbitConsumer, RabbitMessage } from './rabbitmq-consumers.js';
import { RabbitDelivery } from './rabbitmq-delivery.js';
import { restoreRoute } from './rabbitmq-retry.js';

/** What is used of the `AmqpConnection` of `@golevelup/nestjs-rabbitmq`, which is optional. */
interface AmqpConnection {
  readonly managedConnection: { readonly connection?: RabbitConnection };
  setupSubscriberChannel: SetupChannel;
  setupRpcChannel: SetupChannel;
}
type SetupChannel = (
  this: AmqpConnection,
  handler: unknown,
  options: unknown,
  channel: object,
  ...rest: unknown[]
) => unknown;

type OnMessage = (message: RabbitMessage | null) => unknown;

const PATCHED = Symbol.for('nestjs-idempotent:golevelup');
const deliveries = new WeakMap<object, GolevelupDelivery>();

/**
 * Has every consumer of `@golevelup/nestjs-rabbitmq` tell where its messages come from, and leave alone what has been
 * settled already: it acknowledges what its handlers were given, whatever these did with it.
 *
 * @param providers all objects of the application; if no connection is among them nothing is done.
 */
export function watchGolevelup(providers: Iterable<unknown>): void {
  for (const provider of providers) {
    const connection = Object(provider) as Partial<AmqpConnection>;
    if (typeof connection.setupSubscriberChannel !== 'function') continue;
    const prototype = Object.getPrototypeOf(connection) as AmqpConnection & { [PATCHED]?: true };
    if (prototype[PATCHED]) continue;
    Object.defineProperty(prototype, PATCHED, { value: true });
    for (const name of ['setupSubscriberChannel', 'setupRpcChannel'] as const) {
      const setup = prototype[name];
      prototype[name] = function (handler, options, channel, ...rest) {
        const connected = () => this.managedConnection.connection;
        return setup.call(this, handler, options, watched(channel, connected), ...rest);
      };
    }
  }
}

/** @returns undefined for a message of which nothing is known: of another library. */
export function golevelupDeliveryOf(message: object): GolevelupDelivery | undefined {
  return deliveries.get(message);
}

/** A message on its way through a handler that leaves acknowledging it to golevelup. */
export class GolevelupDelivery extends RabbitDelivery {
  private instead: (() => unknown) | undefined;

  constructor(
    readonly raw: RabbitMessage,
    channel: RabbitChannel,
    consumer: RabbitConsumer,
  ) {
    super({ getMessage: () => raw, getChannelRef: () => channel, getArgs: () => [] }, channel, consumer);
  }

  override async putBack(delayMs: number): Promise<void> {
    await super.putBack(delayMs);
    // The copy brings the answer.
    this.raw.properties.replyTo = undefined;
  }

  /** If golevelup would have it again at once, without end. */
  insteadOfRequeue(act: () => unknown): void {
    this.instead = act;
  }

  /** @returns true when golevelup is not to do it. */
  takes(what: 'ack' | 'nack' | 'reject', args: readonly unknown[]): boolean {
    const requeue = what === 'nack' ? args[1] : args[0];
    const isRequeue = what !== 'ack' && requeue !== false;
    if (!this.isDone && isRequeue && this.instead) this.instead();
    return this.isDone;
  }
}

function watched(channel: object, connection: () => RabbitConnection | undefined): object {
  return new Proxy(channel, {
    get: (target, name) => {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== 'function') return member;
      if (name === 'consume') {
        return (queue: string, onMessage: OnMessage, options?: { noAck?: boolean }) => {
          const consumer = { queue, isAutomatic: options?.noAck === true, connection };
          const onDelivery: OnMessage = (message) => {
            if (!message) return onMessage(message);
            restoreRoute(message);
            deliveries.set(message, new GolevelupDelivery(message, target as RabbitChannel, consumer));
            return onMessage(message);
          };
          return member.call(target, queue, onDelivery, options) as unknown;
        };
      }
      if (name !== 'ack' && name !== 'nack' && name !== 'reject') return member.bind(target) as unknown;
      return (message: RabbitMessage, ...rest: unknown[]) => {
        if (!deliveries.get(message)?.takes(name, rest)) member.call(target, message, ...rest);
      };
    },
  });
}
