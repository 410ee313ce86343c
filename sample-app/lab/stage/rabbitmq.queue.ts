import { type Channel, type ChannelModel, type ConfirmChannel, connect } from 'amqplib';
import type { Delivery } from './messages.js';
import type { Queue } from './queue.js';

/** Two queues of a cell: what is ready, and what becomes so when its time is over. */
export async function declareQueues(channel: Channel, prefix: string) {
  const [ready, later] = [`${prefix}.ready`, `${prefix}.later`];
  await channel.assertQueue(ready, { durable: true });
  await channel.assertQueue(later, {
    durable: true,
    deadLetterExchange: '',
    deadLetterRoutingKey: ready,
  });
  return { ready, later };
}

/** The end that is in the lab. The payment services consume by themselves, and the broker notices who is gone. */
export class RabbitMqQueue implements Queue {
  private constructor(
    private readonly connection: ChannelModel,
    private readonly channel: ConfirmChannel,
    private readonly queues: { ready: string; later: string },
  ) {}

  static async open(url: string, prefix: string): Promise<RabbitMqQueue> {
    const connection = await connect(url);
    const channel = await connection.createConfirmChannel();
    return new RabbitMqQueue(connection, channel, await declareQueues(channel, prefix));
  }

  async publish(delivery: Delivery): Promise<void> {
    this.channel.sendToQueue(this.queues.ready, Buffer.from(JSON.stringify(delivery)), { persistent: true });
    await this.channel.waitForConfirms();
  }

  answered(): void {}

  lost(): void {}

  async close(): Promise<void> {
    await this.channel.deleteQueue(this.queues.later);
    await this.channel.deleteQueue(this.queues.ready);
    await this.connection.close();
  }
}
