/** `failed`: it could not be asked, did not answer in time, or its answer does not count. */
export type Vote = 'pending' | 'yes' | 'no' | 'failed';

/** What each of N nodes has said in one round. */
export class Votes {
  /** A majority: any two of them have a node in common. */
  readonly needed: number;
  private readonly votes: Vote[];
  private readonly counts: Record<Vote, number>;
  private readonly causes = new Map<number, unknown>();

  constructor(readonly size: number) {
    this.needed = Math.floor(size / 2) + 1;
    this.votes = new Array<Vote>(size).fill('pending');
    this.counts = { pending: size, yes: 0, no: 0, failed: 0 };
  }

  of(node: number): Vote {
    return this.votes[node]!;
  }

  count(vote: Vote): number {
    return this.counts[vote];
  }

  nodes(vote: Vote): number[] {
    return this.votes.flatMap((each, node) => (each === vote ? [node] : []));
  }

  cast(node: number, vote: Vote, cause?: unknown): void {
    this.counts[this.of(node)]--;
    this.counts[vote]++;
    this.votes[node] = vote;
    if (vote === 'failed') this.causes.set(node, cause);
  }

  get isWon(): boolean {
    return this.counts.yes >= this.needed;
  }

  /**
   * The rest is no majority any more. Not "a majority said no": of an even number, half may say yes and half
   * no, and neither would ever be decided.
   */
  isTooMany(votes: number): boolean {
    return votes > this.size - this.needed;
  }

  /** For a round that a majority did not take part in. */
  error(): AggregateError {
    const causes = [...this.causes].toSorted(([a], [b]) => a - b);
    const answered = this.counts.yes + this.counts.no;
    const reasons = causes.map(([node, cause]) => `node ${node}: ${messageOf(cause)}`);
    return new AggregateError(
      causes.map(([, cause]) => cause),
      `${answered} of ${this.size} nodes answered, ${this.needed} have to agree (${reasons.join('; ')})`,
    );
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
