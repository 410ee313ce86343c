import { setTimeout as sleep } from 'node:timers/promises';
import { type ChannelModel, type ConfirmChannel, connect, type Options } from 'amqplib';

/** `redeliveryDelayMs` of the services, and the end of the name of a queue in which messages wait for so long. */
export const REDELIVERY_MS = 200;
export const RETRY = `.retry-${REDELIVERY_MS}ms`;

/** A broker as its operator and other publishers see it. */
export class Broker implements AsyncDisposable {
  private constructor(
    private readonly connection: ChannelModel,
    private readonly channel: ConfirmChannel,
  ) {}

  static async connect(url: string): Promise<Broker> {
    const connection = await connect(url);
    // A broker that goes away is told by what fails.
    connection.on('error', () => undefined);
    const channel = await connection.createConfirmChannel();
    channel.on('error', () => undefined);
    return new Broker(connection, channel);
  }

  /** An event as `ClientProxy.emit` sends it. */
  async emit(queue: string, pattern: string, data: unknown, options: Options.Publish = {}): Promise<void> {
    const content = Buffer.from(JSON.stringify({ pattern, data }));
    this.channel.publish('', queue, content, { persistent: true, ...options });
    await this.channel.waitForConfirms();
  }

  /** A queue whose messages go to another one after a time. */
  async delayQueue(name: string, to: string, ms: number): Promise<void> {
    await this.channel.assertQueue(name, {
      messageTtl: ms,
      deadLetterExchange: '',
      deadLetterRoutingKey: to,
    });
  }

  async queue(name: string): Promise<void> {
    await this.channel.assertQueue(name, { durable: true });
  }

  /** Messages nobody is at; of those that are with consumers nothing is told. 0 for a queue that is not there. */
  async waiting(queue: string): Promise<number> {
    const channel = await this.connection.createChannel();
    // Asking for a queue that is not there closes the channel.
    channel.on('error', () => undefined);
    try {
      const { messageCount } = await channel.checkQueue(queue);
      await channel.close();
      return messageCount;
    } catch (error) {
      if ((error as { code?: number }).code === 404) return 0;
      throw error;
    }
  }

  /** Until it is so. */
  async until(what: () => boolean | Promise<boolean>, timeoutMs = 20_000): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!(await what())) {
      if (performance.now() > deadline)
        throw new Error(`still not so after ${timeoutMs} ms: ${String(what)}`);
      await sleep(20);
    }
  }

  /** Takes the messages out. */
  async takeAll(queue: string): Promise<unknown[]> {
    const taken: unknown[] = [];
    for (;;) {
      const message = await this.channel.get(queue, { noAck: true });
      if (!message) return taken;
      taken.push(JSON.parse(message.content.toString()).data);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.connection.close().catch(() => undefined);
  }
}
