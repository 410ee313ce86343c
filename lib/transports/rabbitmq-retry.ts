import { within } from '../engine/backend.js';
import type {
  ConfirmChannel,
  RabbitConnection,
  RabbitConsumer,
  RabbitMessage,
} from './rabbitmq-consumers.js';

/** One publish, with all that is needed for it. */
const PUBLISH_TIMEOUT_MS = 5_000;

/** The broker owns these or checks them against the connection: sent by somebody else they are refused. */
const NOT_OURS = ['userId', 'clusterId', 'expiration'];
/**
 * The path a message has taken from queue to queue. With it the broker would take the way through the retry queue for
 * a circle, and drop the message.
 */
const DEATHS = 'x-death';

/** Where a message was sent to. It comes back to its queue alone, under the name of that. */
const EXCHANGE = 'x-idempotent-exchange';
const ROUTING_KEY = 'x-idempotent-routing-key';

const channels = new WeakMap<RabbitConnection, Promise<ConfirmChannel>>();

/** Name of the queue in which messages of `queue` wait. Its time is part of it: a queue cannot change it. */
export function retryQueueOf(queue: string, delayMs: number): string {
  return `${queue}.retry-${delayMs}ms`;
}

/**
 * Puts a copy of a message into a queue where it stays for `delayMs` and then goes back to the queue it came from.
 * Resolves when the broker has it, on disk where it has a disk.
 *
 * @throws BackendUnavailableError when that is not known; the copy may be there all the same.
 */
export async function publishForRetry(
  consumer: RabbitConsumer,
  { content, properties, fields }: RabbitMessage,
  delayMs: number,
): Promise<void> {
  const queue = retryQueueOf(consumer.queue, delayMs);
  const options: Record<string, unknown> = { ...properties, persistent: true };
  for (const name of NOT_OURS) delete options[name];
  const { [DEATHS]: _deaths, ...kept } = properties.headers ?? {};
  const headers = { [EXCHANGE]: fields.exchange, [ROUTING_KEY]: fields.routingKey, ...kept };
  await within(PUBLISH_TIMEOUT_MS, 'RabbitMQ', async () => {
    const channel = await channelOf(consumer.connection());
    // Every time: to a queue that somebody has removed the broker confirms what it throws away.
    await channel.assertQueue(queue, retryQueueOptions(consumer.queue, delayMs));
    await confirmed(channel, queue, content, { ...options, headers });
  });
}

/** Gives a message that was put back the exchange and the routing key it came with at first. */
export function restoreRoute({ fields, properties: { headers = {} } }: RabbitMessage): void {
  const { [EXCHANGE]: exchange, [ROUTING_KEY]: routingKey } = headers;
  if (typeof exchange === 'string') fields.exchange = exchange;
  if (typeof routingKey === 'string') fields.routingKey = routingKey;
}

function retryQueueOptions(queue: string, delayMs: number): object {
  // A queue the broker has named goes with its connection, and so does this one.
  const isTemporary = queue.startsWith('amq.');
  return {
    durable: !isTemporary,
    exclusive: isTemporary,
    arguments: {
      'x-message-ttl': delayMs,
      'x-dead-letter-exchange': '',
      'x-dead-letter-routing-key': queue,
    },
  };
}

async function channelOf(connection: RabbitConnection | undefined): Promise<ConfirmChannel> {
  if (!connection) throw new Error('it is not connected');
  let opened = channels.get(connection);
  if (!opened) {
    opened = connection.createConfirmChannel();
    channels.set(connection, opened);
    const forget = () => channels.delete(connection);
    opened.then((channel) => {
      channel.on('close', forget);
      // Tells why it closes, which the operation that failed tells too; unheard it would end the process.
      channel.on('error', () => undefined);
    }, forget);
  }
  return opened;
}

function confirmed(channel: ConfirmChannel, queue: string, content: Buffer, options: object): Promise<void> {
  return new Promise((resolve, reject) => {
    const closed = () => reject(new Error('the channel was closed'));
    channel.on('close', closed);
    channel.publish('', queue, content, options, (error) => {
      channel.off('close', closed);
      if (error) reject(error instanceof Error ? error : new Error('the broker refused it'));
      else resolve();
    });
  });
}
