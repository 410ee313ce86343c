import type { PostgresDatabase } from './postgres.database.js';
import { PostgresSubscription } from './postgres-subscription.js';

/** First and longest pause before the next try to connect, in milliseconds. */
const RETRY_FROM_MS = 1_000;
const RETRY_TO_MS = 30_000;

/**
 * LISTEN over one further connection of a DataSource: made at the first `listen`, made again when it breaks
 * while somebody listens, closed with the DataSource. Messages may be lost, so who listens looks for himself
 * now and then. After a break everybody is called, because a message may have been missed.
 */
export class PostgresListener {
  readonly #wakes = new Map<string, Set<() => void>>();
  #subscription: PostgresSubscription | undefined;
  /** Runs from a failure to the next try. */
  #retry: NodeJS.Timeout | undefined;
  #retryMs = RETRY_FROM_MS;

  /** @param channel a plain identifier. */
  constructor(
    private readonly database: PostgresDatabase,
    private readonly channel: string,
  ) {}

  /** What is listened for at the moment. */
  get payloads(): string[] {
    return [...this.#wakes.keys()];
  }

  /**
   * Calls `wake` at every message with this payload until the returned function is called.
   *
   * @throws Error when no messages arrive. It is then not tried again for a while.
   */
  async listen(payload: string, wake: () => void): Promise<() => void> {
    const listener = () => wake();
    const wakes = this.#wakes.get(payload) ?? new Set();
    this.#wakes.set(payload, wakes.add(listener));
    const leave = () => {
      if (!wakes.delete(listener) || wakes.size > 0) return;
      if (this.#wakes.get(payload) === wakes) this.#wakes.delete(payload);
    };
    try {
      if (this.#retry) throw new Error('The connection that listens is broken');
      await this.#subscribed();
      return leave;
    } catch (error) {
      leave();
      throw error;
    }
  }

  #subscribed(): Promise<void> {
    this.#subscription ??= new PostgresSubscription(
      this.database,
      this.channel,
      (payload) => this.#wakes.get(payload)?.forEach((wake) => wake()),
      (isDestroyed) => {
        this.#subscription = undefined;
        if (!isDestroyed) this.#tryLater();
      },
    );
    return this.#subscription.ready;
  }

  #tryLater(): void {
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      // Nobody listens, or nobody can: the next one to come tries.
      if (!this.#wakes.size || !this.database.dataSource.isInitialized) return;
      this.#subscribed().then(
        () => {
          this.#retryMs = RETRY_FROM_MS;
          for (const wakes of this.#wakes.values()) for (const wake of wakes) wake();
        },
        () => undefined,
      );
    }, this.#retryMs).unref();
    this.#retryMs = Math.min(2 * this.#retryMs, RETRY_TO_MS);
  }
}
