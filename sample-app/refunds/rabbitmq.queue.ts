import type { OnModuleDestroy } from '@nestjs/common';
import { type ClientProxy, ClientProxyFactory, type RmqOptions, Transport } from '@nestjs/microservices';
import { lastValueFrom, timeout } from 'rxjs';
import type { RefundCommand } from './refund.command.js';
import { RefundQueue } from './refund.queue.js';

/** The pattern of its messages. */
export const REFUND_REQUESTED = 'refund.requested';

const QUEUE = 'refund-commands';
/** How many commands a consumer works on at a time. */
const PREFETCH = 10;
const PUBLISH_TIMEOUT_MS = 5_000;
const RECONNECT_SECONDS = 1;

/** A queue in a message broker: refund and payment services may be processes of their own, and several. */
export class RabbitMqQueue extends RefundQueue implements OnModuleDestroy {
  private readonly client: ClientProxy;

  constructor(url: string) {
    super();
    this.client = ClientProxyFactory.create(rabbitMq(url, { persistent: true }));
  }

  /** @throws TimeoutError when the broker has not confirmed it in time; it may have it all the same. */
  async publish(command: RefundCommand): Promise<void> {
    const sent$ = this.client.emit(REFUND_REQUESTED, command).pipe(timeout(PUBLISH_TIMEOUT_MS));
    await lastValueFrom(sent$, { defaultValue: undefined });
  }

  async onModuleDestroy(): Promise<void> {
    await this.client.close();
  }
}

/** What the payment service listens with. Its handler acknowledges: a command is not forgotten before it is worked on. */
export function refundConsumer(url: string): RmqOptions {
  return rabbitMq(url, { noAck: false, prefetchCount: PREFETCH });
}

function rabbitMq(url: string, options: RmqOptions['options']): RmqOptions {
  return {
    transport: Transport.RMQ,
    options: {
      urls: [url],
      queue: QUEUE,
      queueOptions: { durable: true },
      socketOptions: { reconnectTimeInSeconds: RECONNECT_SECONDS },
      ...options,
    },
  };
}
