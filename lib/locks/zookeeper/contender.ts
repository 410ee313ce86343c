/** One token before one lock: what is known of its node. */
export class Contender {
  /** Name of its node, once known. */
  node: string | undefined;
  /** The session its node belongs to, or would if it was made. 0: none was ever asked for. */
  session = 0n;
  /** The node may have been made: the answer got lost. */
  isUncertain = false;
  /** An answer got lost at some time: there may be a node more than is known. */
  mayHaveStrays = false;
  /** Nobody else stood in line at the last look. */
  isAlone = false;
  isHeld = false;
  /** Nobody is interested any more. */
  isCalledOff = false;
  /** Set while it waits for a connection. */
  stopWaiting?: () => void;
  fence = 0n;
  /** Path of the node whose removal wakes it. */
  watched: string | undefined;
  readonly wakes = new Set<() => void>();
  /** Kept by `HoldLimits`. */
  limit: { readonly ttlMs: number; readonly until: number } | undefined;

  private made = { serverMs: 0, mono: 0 };
  private isLost = false;
  private readonly losers: (() => void)[] = [];
  private last: Promise<unknown> = Promise.resolve();

  constructor(
    /** Path of the lock's node. */
    readonly folder: string,
    readonly token: string,
  ) {}

  get key(): string {
    return keyOf(this.folder, this.token);
  }

  get path(): string {
    return `${this.folder}/${this.node}`;
  }

  /** One at a time, in order: what comes after an attempt finds what the attempt left. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.last.then(work, work);
    this.last = turn.catch(() => undefined);
    return turn;
  }

  /** `serverMs`: the leader's clock when the node was made. */
  entered(path: string, { fence, serverMs }: { fence: bigint; serverMs: number }): void {
    this.node = path.slice(this.folder.length + 1);
    this.isUncertain = false;
    this.fence = fence;
    this.made = { serverMs, mono: performance.now() };
  }

  /** Its node is gone, or was never made. */
  forget(): undefined {
    this.node = undefined;
    this.isUncertain = false;
  }

  /** The leader's clock, as far as is known from when the node was made. */
  serverMs(): number {
    return this.made.serverMs + performance.now() - this.made.mono;
  }

  whenLost(tell: () => void): void {
    if (this.isLost) tell();
    else this.losers.push(tell);
  }

  lose(): void {
    this.isLost = true;
    for (const tell of this.losers.splice(0)) tell();
  }

  wake(): void {
    for (const wake of this.wakes) wake();
  }
}

export function keyOf(folder: string, token: string): string {
  return `${folder}/${token}`;
}
