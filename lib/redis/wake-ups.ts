import type { RedisClient } from './redis-client.js';

/** Pause before the next try when only the connection for wake-ups broke, in milliseconds. */
const RETRY_MS = 1_000;

/** What is used of a duplicated client. */
interface Subscriber {
  subscribe(...channels: string[]): Promise<unknown>;
  unsubscribe(...channels: string[]): Promise<unknown>;
  disconnect(): void;
  on(event: 'message', listener: (channel: string) => void): unknown;
  on(event: 'error' | 'end', listener: () => void): unknown;
}

interface Channel {
  readonly listeners: Set<() => void>;
  /** Settles with the subscription. */
  inForce: Promise<unknown>;
}

/**
 * Wake-ups over one further connection of a client, made at the first watch. It lives only while the user's
 * client is connected: so it never keeps a process alive that has ended its client, and needs no reconnecting
 * of its own. After a break every listener is woken, because a message may have been missed.
 */
export class WakeUps {
  private readonly channels = new Map<string, Channel>();
  private subscriber: Subscriber | undefined;
  private retry: NodeJS.Timeout | undefined;

  constructor(private readonly client: RedisClient) {
    client.on('ready', () => this.resume());
    client.on('close', () => this.disconnect());
  }

  /** Channels subscribed to at the moment. */
  get size(): number {
    return this.channels.size;
  }

  /** Resolves once the subscription is in force; rejects when it could not be made. */
  async watch(name: string, wake: () => void): Promise<() => void> {
    const listener = () => wake();
    let channel = this.channels.get(name);
    if (!channel) {
      channel = { listeners: new Set(), inForce: this.connected().subscribe(name) };
      this.channels.set(name, channel);
    }
    channel.listeners.add(listener);
    const { listeners } = channel;
    const leave = () => {
      if (!listeners.delete(listener) || listeners.size > 0) return;
      // Somebody who watches again from here on makes a new channel: its SUBSCRIBE comes after.
      this.channels.delete(name);
      this.subscriber?.unsubscribe(name).catch(ignore);
    };
    try {
      await channel.inForce;
      return leave;
    } catch (error) {
      leave();
      throw error;
    }
  }

  private connected(): Subscriber {
    if (this.subscriber) return this.subscriber;
    const subscriber = duplicate(this.client);
    this.subscriber = subscriber;
    subscriber.on('message', (name) => this.wake(name));
    // A lost connection is told by `end`. Without a listener ioredis would write to the console.
    subscriber.on('error', ignore);
    subscriber.on('end', () => {
      if (this.subscriber !== subscriber) return;
      this.subscriber = undefined;
      this.retry = setTimeout(() => this.resume(), RETRY_MS).unref();
    });
    return subscriber;
  }

  private resume(): void {
    if (this.subscriber || this.channels.size === 0 || this.client.status !== 'ready') return;
    const channels = [...this.channels];
    const inForce = this.connected().subscribe(...channels.map(([name]) => name));
    inForce.then(() => channels.forEach(([name]) => this.wake(name)), ignore);
    for (const [, channel] of channels) channel.inForce = inForce;
  }

  private disconnect(): void {
    clearTimeout(this.retry);
    const { subscriber } = this;
    this.subscriber = undefined;
    subscriber?.disconnect();
  }

  private wake(name: string): void {
    for (const listener of this.channels.get(name)?.listeners ?? []) listener();
  }
}

/**
 * Reconnecting and resubscribing are done here: ioredis leaves the promise of its own SUBSCRIBE unhandled. And no
 * ready check: a SUBSCRIBE that overtakes its INFO makes it fail, and ioredis then ends the connection.
 */
function duplicate(client: RedisClient): Subscriber {
  const common = { lazyConnect: false, enableOfflineQueue: true };
  const make = client.duplicate.bind(client) as (...overrides: object[]) => unknown;
  return (
    client.isCluster
      ? make([], { ...common, clusterRetryStrategy: null })
      : make({ ...common, enableReadyCheck: false, autoResubscribe: false, retryStrategy: null })
  ) as Subscriber;
}

function ignore(): void {}
