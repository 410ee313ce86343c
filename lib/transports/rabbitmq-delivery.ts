import { Logger } from '@nestjs/common';
import {
  consumerOf,
  type RabbitChannel,
  type RabbitConsumer,
  type RabbitMessage,
} from './rabbitmq-consumers.js';
import { publishForRetry } from './rabbitmq-retry.js';

interface RmqContextLike {
  getMessage(): RabbitMessage;
  getChannelRef(): RabbitChannel;
  getArgs(): unknown[];
}

const logger = new Logger('Idempotency');
/** Where the channel is in the arguments of an `RmqContext`. */
const CHANNEL = 1;

/** @returns undefined for a message of another transport, and for one of a consumer we do not know. */
export function deliveryOf(context: object): RabbitDelivery | undefined {
  const like = context as Partial<RmqContextLike>;
  const channel = like.getChannelRef?.();
  const consumer = channel && consumerOf(channel);
  return consumer && new RabbitDelivery(context as RmqContextLike, channel, consumer);
}

/**
 * One message of RabbitMQ on its way through a handler. It is acknowledged, rejected or put back once, by whoever is
 * first, and what the handler says of it is kept until its result is recorded: acknowledged before, a crash
 * in between would lose the result; and a channel that has closed meanwhile would make the handler fail after its work.
 */
export class RabbitDelivery {
  private readonly message: RabbitMessage;
  private isHeld = false;
  private isSettled = false;
  private wish: (() => void) | undefined;

  constructor(
    private readonly context: RmqContextLike,
    private readonly channel: RabbitChannel,
    private readonly consumer: RabbitConsumer,
  ) {
    this.message = context.getMessage();
  }

  /** The sender waits for an answer: a request, not an event. */
  get isRequest(): boolean {
    return Boolean(this.message.properties.replyTo);
  }

  /** Acknowledged, rejected or put back, by whomever. */
  get isDone(): boolean {
    return this.isSettled;
  }

  /** The handler begins: from now on what it says of the message waits for `free`. */
  hold(): void {
    // A transaction that gave way is run again.
    this.forget();
    if (this.consumer.isAutomatic || this.isHeld) return;
    this.isHeld = true;
    this.context.getArgs()[CHANNEL] = this.listeningChannel();
  }

  /** A handler without a key begins: what it says of the message is done at once, and known here. */
  watch(): void {
    if (!this.consumer.isAutomatic) this.context.getArgs()[CHANNEL] = this.listeningChannel();
  }

  /** The work was undone: what the handler said of the message until now does not count. */
  forget(): void {
    this.wish = undefined;
  }

  /** The result is recorded: what the handler said, or says later, is done. */
  free(): void {
    this.isHeld = false;
    if (this.wish) this.settle(this.wish);
  }

  /** Done, nothing is left to do. */
  acknowledge(): void {
    this.settle(() => this.channel.ack(this.message));
  }

  /** Cannot be handled however often it comes: to the dead letters of its queue, if it has any. */
  reject(): void {
    this.settle(() => this.channel.reject(this.message, false));
  }

  /** Does `act` unless a filter of the application settles the message first. Automatically acknowledged, it is gone. */
  otherwise(act: () => unknown): void {
    if (this.consumer.isAutomatic || this.isSettled) return;
    setImmediate(() => {
      if (!this.isSettled) act();
    });
  }

  /**
   * Comes again in `delayMs`: the broker has the copy before it is told that this one is done, so in between there
   * may be two, never none. Never rejects.
   */
  async putBack(delayMs: number): Promise<void> {
    // The handler's own wish came with work that does not count.
    if (this.isSettled) return;
    this.isSettled = true;
    for (;;) {
      try {
        await publishForRetry(this.consumer, this.message, delayMs);
        return this.tell(() => this.channel.ack(this.message));
      } catch (error) {
        const { queue, isAutomatic } = this.consumer;
        logger.warn(`A message of ${queue} could not be put into its retry queue: ${String(error)}`);
        await new Promise((resolve) => setTimeout(resolve, delayMs).unref());
        // The broker still has it, at the cost of counting one more delivery.
        if (!isAutomatic) return this.tell(() => this.channel.nack(this.message, false, true));
      }
    }
  }

  private settle(act: () => void): void {
    if (this.isSettled) return;
    this.isSettled = true;
    this.tell(act);
  }

  private tell(act: () => void): void {
    if (this.consumer.isAutomatic) return;
    try {
      act();
    } catch (error) {
      // The channel has closed: the broker delivers the message again, and then it is a duplicate.
      logger.debug(`A message of ${this.consumer.queue} could not be settled: ${String(error)}`);
    }
  }

  private wishes(act: () => void): void {
    if (this.isHeld) this.wish ??= act;
    else this.settle(act);
  }

  private listeningChannel(): RabbitChannel {
    const { deliveryTag } = this.message.fields;
    return new Proxy(this.channel, {
      get: (channel, name) => {
        const member: unknown = Reflect.get(channel, name, channel);
        if (typeof member !== 'function') return member;
        if (name !== 'ack' && name !== 'nack' && name !== 'reject') return member.bind(channel);
        return (message: RabbitMessage, ...rest: unknown[]) => {
          const act = () => member.call(channel, message, ...rest);
          if (message?.fields?.deliveryTag === deliveryTag) this.wishes(act);
          else act();
        };
      },
    });
  }
}
