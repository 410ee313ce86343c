import type { Instant } from '../../engine/lease.js';
import { isPast } from './validity.js';
import { Votes } from './votes.js';

/**
 * Decides the prolongation of one lock, from what the nodes answer. Pure, as the ballot of an attempt is.
 *
 * A majority still has it, within the old deadline: prolonged. So many have it no more that the rest is no
 * majority: lost, for certain. In both cases nothing is deleted anywhere.
 *
 * A node that has it no more (a restart, an extension it missed) is repaired: asked to grant it anew. That is
 * right only while the lock is certainly held by us; after the old deadline somebody else may have had it in
 * between, and a repair would hide that. Nor while it may turn out to be lost. So repairs begin when it is
 * prolonged, or when all have answered and neither is certain; then they count.
 */
export class ExtendBallot {
  /** Undefined as long as it is open. An error: nobody can tell. */
  verdict: boolean | AggregateError | undefined;
  private readonly votes: Votes;
  /** Nodes that have it no more and are not being repaired yet. */
  private absent: number[] = [];
  private repairs: number[] = [];
  private isRepairing = false;

  /** @param oldDeadline undefined: not known here. */
  constructor(
    size: number,
    private readonly oldDeadline: Instant | undefined,
  ) {
    this.votes = new Votes(size);
  }

  /** It still has the lock, and has prolonged it. */
  kept(node: number, now: Instant): void {
    if (this.votes.of(node) === 'pending') this.votes.cast(node, 'yes');
    this.decide(now);
  }

  /** It has the lock no more. `voteless`: why this does not count; the node is repaired all the same. */
  gone(node: number, now: Instant, voteless?: unknown): void {
    if (this.votes.of(node) !== 'pending') return;
    if (voteless === undefined) this.votes.cast(node, 'no');
    else this.votes.cast(node, 'failed', voteless);
    this.absent.push(node);
    this.decide(now);
  }

  failed(node: number, cause: unknown, now: Instant): void {
    if (this.votes.of(node) === 'pending') this.votes.cast(node, 'failed', cause);
    this.decide(now);
  }

  /** It has granted the lock anew, or (false) somebody else has it there. */
  repaired(node: number, hasGranted: boolean, now: Instant): void {
    if (this.votes.of(node) === 'pending') this.votes.cast(node, hasGranted ? 'yes' : 'no');
    this.decide(now);
  }

  /** Who has not answered by now, fails. */
  timeUp(cause: (node: number) => unknown, now: Instant): void {
    for (const node of this.votes.nodes('pending')) this.failed(node, cause(node), now);
  }

  /** Nodes to be repaired, each of them once. */
  takeRepairs(): number[] {
    const taken = this.repairs;
    this.repairs = [];
    return taken;
  }

  private decide(now: Instant): void {
    const { votes } = this;
    const isInTime = this.oldDeadline === undefined || !isPast(this.oldDeadline, now);
    if (this.verdict === undefined && votes.isWon) this.verdict = isInTime;
    if (this.verdict === undefined && votes.isTooMany(votes.count('no'))) this.verdict = false;
    if (this.verdict === true) this.repairs.push(...this.absent.splice(0));
    if (this.verdict !== undefined || votes.count('pending') > 0) return;
    if (!this.isRepairing && this.oldDeadline !== undefined && isInTime) {
      this.isRepairing = true;
      for (const node of this.absent) if (votes.of(node) === 'no') votes.cast(node, 'pending');
      this.repairs.push(...this.absent.splice(0));
      if (votes.count('pending') > 0) return;
    }
    this.verdict = isInTime ? votes.error() : false;
  }
}
