import type { Instant } from '../../engine/lease.js';
import type { AcquireAnswer } from '../lock-driver.js';
import { isPast } from './validity.js';
import { Votes } from './votes.js';

export interface AcquireTerms {
  /** How many nodes there are. */
  readonly size: number;
  /** Both clocks before the first request was sent. */
  readonly sentAt: Instant;
  /** What is granted later than this is worth nothing. */
  readonly deadline: Instant;
  readonly random: () => number;
}

type Refusal = AcquireAnswer & { acquired: false };

/** Shortest range of the pause after a split vote, in milliseconds; nearby nodes answer well within. */
const SPLIT_PAUSE_MS = 20;

/**
 * Decides one attempt to lock, from what the nodes answer. It sends nothing and waits for nothing: whoever
 * feeds it does, so a simulation can.
 *
 * Granted when a majority has granted it *and* remembers the fence, before the deadline. The fence is the
 * greatest of that majority. Those who gave a smaller one have to be told first: the next holder's majority
 * has one node in common with this one, maybe only one, and it must not give out a smaller fence. It has to be
 * the granting nodes themselves that remember it: of others the next holder may have got its votes already.
 *
 * Refused as soon as the rest is no majority. It is "unavailable" when too many nodes could not be asked, and
 * "busy" only when a majority answered.
 */
export class AcquireBallot {
  /** Undefined as long as it is open. An error: unavailable. */
  verdict: AcquireAnswer | AggregateError | undefined;
  /** It is busy, and yet nobody seems to have the lock: several tried at the same time. */
  isSplit = false;
  private readonly votes: Votes;
  private readonly fences = new Map<number, bigint>();
  private readonly refusals: Refusal[] = [];
  /** Nodes that granted and will give out no smaller fence any more. */
  private readonly confirmed = new Set<number>();
  private readonly asked = new Set<number>();
  private chosen: bigint | undefined;

  constructor(private readonly terms: AcquireTerms) {
    this.votes = new Votes(terms.size);
  }

  /** The fence the nodes of `takeRaises` have to be told. */
  get fence(): bigint {
    return this.chosen ?? 0n;
  }

  granted(node: number, fence: bigint, now: Instant): void {
    if (this.verdict || this.votes.of(node) !== 'pending') return;
    this.votes.cast(node, 'yes');
    this.fences.set(node, fence);
    if (this.votes.isWon) this.chosen ??= greatest(this.fences.values());
    this.decide(now);
  }

  refused(node: number, refusal: Refusal, now: Instant): void {
    if (this.verdict || this.votes.of(node) !== 'pending') return;
    this.votes.cast(node, 'no');
    this.refusals.push(refusal);
    this.decide(now);
  }

  /** It granted and has been told the fence. */
  raised(node: number, now: Instant): void {
    if (this.verdict || this.votes.of(node) !== 'yes') return;
    this.confirmed.add(node);
    this.decide(now);
  }

  /** It could not be asked for the lock, or not be told the fence. */
  failed(node: number, cause: unknown, now: Instant): void {
    const isOpen = this.votes.of(node) === 'pending' || this.votes.of(node) === 'yes';
    if (this.verdict || !isOpen || this.confirmed.has(node)) return;
    this.votes.cast(node, 'failed', cause);
    this.decide(now);
  }

  /** Who has not answered by now, fails. */
  timeUp(cause: (node: number) => unknown, now: Instant): void {
    for (const node of [...this.votes.nodes('pending'), ...this.votes.nodes('yes')]) {
      this.failed(node, cause(node), now);
    }
  }

  /** Nodes that have to be told the fence, each of them once. */
  takeRaises(): number[] {
    if (this.verdict || this.chosen === undefined) return [];
    const raises = this.votes
      .nodes('yes')
      .filter((node) => !this.confirmed.has(node) && !this.asked.has(node));
    for (const node of raises) this.asked.add(node);
    return raises;
  }

  private decide(now: Instant): void {
    const { votes } = this;
    if (this.chosen !== undefined) this.confirmThoseWhoKnow(this.chosen);
    const failed = votes.count('failed');
    if (this.confirmed.size >= votes.needed) {
      this.verdict = isPast(this.terms.deadline, now)
        ? new AggregateError([], 'The nodes agreed too late: the life of the lock is over')
        : { acquired: true, fence: this.fence };
    } else if (votes.isTooMany(failed)) {
      this.verdict = votes.error();
    } else if (
      votes.isTooMany(failed + votes.count('no')) &&
      votes.count('yes') + votes.count('no') >= votes.needed
    ) {
      this.verdict = this.busy(now);
    }
  }

  private confirmThoseWhoKnow(chosen: bigint): void {
    for (const node of this.votes.nodes('yes')) {
      // Where all are needed, all gave the last holder a smaller fence than this one.
      const isEverybodyNeeded = this.votes.needed === this.votes.size;
      if (isEverybodyNeeded || this.fences.get(node)! >= chosen) this.confirmed.add(node);
    }
  }

  /**
   * Held by somebody: the life left until enough nodes are free. Nobody got a majority: a short pause by
   * chance, so that those who collided do not collide again.
   */
  private busy(now: Instant): Refusal {
    const { needed } = this.votes;
    const yes = this.votes.count('yes');
    const holder = mostFrequent(this.refusals.map((refusal) => refusal.holder));
    const isHeld = holder.count >= needed || (yes === 0 && holder.count === this.refusals.length);
    this.isSplit = !isHeld;
    if (this.isSplit) {
      const range = Math.max(SPLIT_PAUSE_MS, 4 * (now.mono - this.terms.sentAt.mono));
      return { acquired: false, retryAfterMs: 1 + this.terms.random() * range };
    }
    const lives = this.refusals.map(({ retryAfterMs }) => retryAfterMs).toSorted((a, b) => a - b);
    const retryAfterMs = lives[Math.min(needed - yes, lives.length) - 1]!;
    return {
      acquired: false,
      retryAfterMs,
      ...(holder.value === undefined ? {} : { holder: holder.value }),
    };
  }
}

function greatest(fences: Iterable<bigint>): bigint {
  return [...fences].reduce((a, b) => (a > b ? a : b));
}

function mostFrequent<T>(values: readonly T[]): { value: T | undefined; count: number } {
  const counts = new Map<T, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  let most: { value: T | undefined; count: number } = { value: undefined, count: 0 };
  for (const [value, count] of counts) if (count > most.count) most = { value, count };
  return most;
}
