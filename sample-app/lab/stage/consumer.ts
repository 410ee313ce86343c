import { type Channel, connect } from 'amqplib';
import type { Delivery, Next, Part } from './messages.js';
import { declareQueues } from './rabbitmq.queue.js';

type Work = (delivery: Delivery) => Promise<Next>;

/** The end of the queue that is in a payment service. */
export interface Consumer {
  /** Of a queue that is in the lab's process. */
  deliver(delivery: Delivery): Promise<void>;
  close(): Promise<void>;
}

export async function consume(part: Part, work: Work): Promise<Consumer> {
  const { rabbitmq } = part.addresses;
  if (rabbitmq) return consumeRabbitMq(rabbitmq, part, work);
  return {
    deliver: async (delivery) => void (await work(delivery)),
    close: async () => undefined,
  };
}

/** Acknowledged is what is over, or has been put where it comes again from. */
async function consumeRabbitMq(url: string, { prefix, prefetch }: Part, work: Work): Promise<Consumer> {
  const connection = await connect(url);
  const channel: Channel = await connection.createChannel();
  const { ready, later } = await declareQueues(channel, prefix);
  await channel.prefetch(prefetch);
  const { consumerTag } = await channel.consume(ready, (message) => {
    // Null: the queue was deleted, the cell is over.
    if (!message) return;
    void work(JSON.parse(message.content.toString()) as Delivery).then((next) => {
      if ('afterMs' in next) {
        channel.sendToQueue(later, Buffer.from(JSON.stringify(next.delivery)), { expiration: next.afterMs });
      }
      channel.ack(message);
    });
  });
  return {
    deliver: () => Promise.reject(new Error('this queue delivers by itself')),
    close: async () => {
      await channel.cancel(consumerTag);
      await connection.close();
    },
  };
}
