import type { Clock } from '../../engine/clock.js';
import type { RedisClient } from '../../redis/redis-client.js';
import type { Franchise } from '../quorum/node.js';
import { Probation, type ServerRun } from './redlock-probation.js';

/** An ioredis client of one server; what `redisLock` uses of it, and INFO. */
export interface RedlockClient extends RedisClient {
  info(section: string): Promise<string>;
}

/** The answer of a node does not count, because the node may have forgotten what it granted. */
export class ExcludedError extends Error {
  override readonly name = 'ExcludedError';
}

/**
 * Keeps a restarted server from voting until all it may have forgotten has run out: "delayed restarts" of
 * https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/#performance-crash-recovery-and-fsync,
 * without anybody having to delay a restart. At each connection the server is asked how long it has been up.
 *
 * A server that refuses INFO is taken for one that was just started, at each connection.
 */
export class RedlockFranchise implements Franchise {
  private readonly probation = new Probation();
  private identified: Promise<void> = Promise.resolve();
  private refusesInfo = false;

  /** @param lifeMs the longest life of a lock there is, as far as known. */
  constructor(
    private readonly client: RedlockClient,
    private readonly lifeMs: () => number,
    private readonly clock: Clock,
  ) {
    client.on('ready', () => this.identify());
    client.on('close', () => this.probation.broke(clock.mono()));
    if (client.status === 'ready') this.identify();
  }

  /** Milliseconds it has no vote, and why; undefined: it has one, or is not connected. */
  get exclusion(): { reason: string; forMs: number } | undefined {
    const forMs = this.leftMs;
    if (!forMs) return undefined;
    return { reason: this.refusesInfo ? 'refuses INFO' : 'restarted', forMs };
  }

  /**
   * It is the present connection that matters, also to what was sent over one before: ioredis sends again what
   * was under way when a connection breaks, so the answer is that of the server there is now.
   */
  objection(): ExcludedError | undefined | Promise<ExcludedError | undefined> {
    if (this.leftMs !== undefined) return this.presentObjection();
    return this.identified.then(() => this.presentObjection());
  }

  private presentObjection(): ExcludedError | undefined {
    const forMs = this.leftMs;
    if (forMs === 0) return undefined;
    if (forMs === undefined) return new ExcludedError('its connection broke');
    const why = this.refusesInfo ? 'it does not tell whether it was restarted' : 'it was restarted';
    return new ExcludedError(`no vote for another ${Math.ceil(forMs)} ms: ${why}`);
  }

  private get leftMs(): number | undefined {
    return this.probation.leftMs(this.clock.mono(), this.lifeMs());
  }

  private identify(): void {
    const { epoch } = this.probation;
    const connected = (run: ServerRun | undefined) => {
      // An INFO that was sent again tells of a later connection, which has one of its own.
      if (epoch !== this.probation.epoch) return;
      this.refusesInfo = run === undefined;
      this.probation.connected(this.clock.mono(), run);
    };
    this.identified = this.client.info('server').then(
      (info) => connected(runOf(info)),
      () => connected(undefined),
    );
  }
}

function runOf(info: string): ServerRun | undefined {
  const id = /^run_id:(\S+)/m.exec(info)?.[1];
  const uptime = /^uptime_in_seconds:(\d+)/m.exec(info)?.[1];
  return id && uptime ? { id, uptimeSeconds: Number(uptime) } : undefined;
}
