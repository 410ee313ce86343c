/** What a server says of itself. */
export interface ServerRun {
  /** Another one after each start. */
  readonly id: string;
  /** Whole seconds, from the difference of two whole seconds. */
  readonly uptimeSeconds: number;
}

/**
 * Since when a node certainly remembers what it granted, as far as one process can know. Any restart breaks the
 * connections: as long as one lives, the node has not been restarted.
 *
 * All times are of the monotonic clock of this process.
 */
export class Probation {
  /** Another one after each break of the connection. */
  epoch = 0;
  private lastRun: string | undefined;
  private isConnected = false;
  private brokeAt = -Infinity;
  private rememberedSince: number | undefined;

  /** The connection broke, or could not be made. */
  broke(now: number): void {
    this.epoch++;
    if (this.isConnected) this.brokeAt = now;
    this.isConnected = false;
    this.rememberedSince = undefined;
  }

  /** There is a connection, to this run of the server; undefined: it does not tell. */
  connected(now: number, run: ServerRun | undefined): void {
    this.isConnected = true;
    // As if it had been started just now: the worst that may be.
    this.rememberedSince = now;
    if (!run) return;
    // The difference of whole seconds may be one too many.
    const startedAt = now - Math.max(0, run.uptimeSeconds - 1) * 1_000;
    // Not the one we lost, and yet up since before: it took over from it, or its clock has been set.
    const isUnbelievable = this.lastRun !== undefined && this.lastRun !== run.id && startedAt < this.brokeAt;
    if (!isUnbelievable) this.rememberedSince = startedAt;
    this.lastRun = run.id;
  }

  /**
   * Milliseconds until everything it may have granted and forgotten has run out; 0: now. Undefined: there is
   * no connection, or none that is known yet.
   *
   * @param lifeMs the longest life of a lock.
   */
  leftMs(now: number, lifeMs: number): number | undefined {
    if (this.rememberedSince === undefined) return undefined;
    const allowance = 0.01 * lifeMs + 2;
    return Math.max(0, this.rememberedSince + lifeMs + allowance - now);
  }
}
