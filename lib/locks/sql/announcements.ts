import type { DataSource } from 'typeorm';
import { PostgresListener } from '../../sql/postgres-listener.js';
import { type PostgresDialect, WAKE_FOR_MS } from './dialects/postgres.dialect.js';

const announcements = new WeakMap<DataSource, Announcements>();

/** Locks on one DataSource share it, and with it one connection. */
export function announcementsOf(dataSource: DataSource, dialect: PostgresDialect): Announcements {
  let known = announcements.get(dataSource);
  if (!known) announcements.set(dataSource, (known = new Announcements(dialect)));
  return known;
}

/**
 * Releases as waiters hear of them. Only releases of locks somebody may wait for are announced: a notification
 * costs every listening process a wake-up, and stands in one line with all others when it is committed. So who
 * waits says so in the lock's row, for a while, and again as long as he waits.
 */
export class Announcements {
  readonly #listener: PostgresListener;
  /** When it was last said of a lock that somebody waits for it. */
  readonly #saidAt = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(private readonly dialect: PostgresDialect) {
    this.#listener = new PostgresListener(dialect.database, dialect.channel);
  }

  /** Resolves once every release from then on is heard of. */
  async watch(id: string, wake: () => void): Promise<() => void> {
    const leave = await this.#listener.listen(id, wake);
    try {
      // Not said again for everybody who comes and goes at a lock that is much asked for.
      if (performance.now() - (this.#saidAt.get(id) ?? -Infinity) > WAKE_FOR_MS / 4) await this.#say([id]);
      this.#timer ??= setInterval(() => this.#sayAgain(), WAKE_FOR_MS / 4).unref();
      return leave;
    } catch (error) {
      leave();
      throw error;
    }
  }

  async #say(ids: string[]): Promise<void> {
    const now = performance.now();
    await this.dialect.announce(ids);
    for (const id of ids) this.#saidAt.set(id, now);
  }

  #sayAgain(): void {
    const ids = this.#listener.payloads;
    const awaited = new Set(ids);
    for (const id of this.#saidAt.keys()) if (!awaited.has(id)) this.#saidAt.delete(id);
    if (!ids.length) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      return;
    }
    // Who waits looks for himself anyway.
    if (this.dialect.database.dataSource.isInitialized) this.#say(ids).catch(() => undefined);
  }
}
