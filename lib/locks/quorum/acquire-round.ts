import { type Instant, instant } from '../../engine/lease.js';
import { type AcquireAnswer, FENCE_LEAD_MS, type LockRef } from '../lock-driver.js';
import { AcquireBallot } from './acquire-ballot.js';
import type { Dealing } from './dealings.js';
import { type Electorate, NodeTimeoutError } from './electorate.js';
import { deadlineOf } from './validity.js';

/** One attempt to lock: asks the nodes, and feeds the ballot with what they answer. */
export class AcquireRound {
  private readonly ballot: AcquireBallot;
  private readonly dealing: Dealing;
  private readonly deadline: Instant;
  private readonly leastFence: bigint;
  private readonly timeoutMs: number;
  private stopTimer: (() => void) | undefined;
  private isRaising = false;
  private isOver = false;
  private resolve!: (answer: AcquireAnswer) => void;
  private reject!: (error: AggregateError) => void;

  constructor(
    private readonly electorate: Electorate,
    private readonly lock: LockRef,
    private readonly ttlMs: number,
  ) {
    const { clock, random, driftFactor } = electorate.world;
    const sentAt = instant(clock);
    this.deadline = deadlineOf(sentAt, ttlMs, driftFactor);
    this.ballot = new AcquireBallot({ size: electorate.size, sentAt, deadline: this.deadline, random });
    this.leastFence = BigInt(Math.round((sentAt.wall + FENCE_LEAD_MS / 2) * 1_000));
    this.dealing = electorate.dealings.of(lock);
    this.timeoutMs = electorate.timeoutFor(ttlMs);
  }

  /** @throws AggregateError when it is unavailable. */
  run(): Promise<AcquireAnswer> {
    this.dealing.wanted = true;
    return new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
      this.startTimer();
      for (let node = 0; node < this.electorate.size; node++) this.askForVote(node);
    });
  }

  /** See `AcquireBallot`. */
  get isSplit(): boolean {
    return this.ballot.isSplit;
  }

  private askForVote(node: number): void {
    const { electorate, lock, dealing, ttlMs, ballot, leastFence } = this;
    electorate.askForGrant(
      node,
      { lock, dealing, ttlMs, leastFence },
      {
        answered: (answer) =>
          this.proceed((now) =>
            answer.acquired ? ballot.granted(node, answer.fence, now) : ballot.refused(node, answer, now),
          ),
        failed: (cause) => this.proceed((now) => ballot.failed(node, cause, now)),
      },
    );
  }

  private askToRaise(node: number): void {
    const { electorate, lock, ballot } = this;
    electorate.ask(node, (driver) => driver.raiseFence!(lock.name, ballot.fence), {
      answered: () => this.proceed((now) => ballot.raised(node, now)),
      failed: (cause) => this.proceed((now) => ballot.failed(node, cause, now)),
    });
  }

  private startTimer(): void {
    this.stopTimer?.();
    const { timeoutMs, electorate } = this;
    this.stopTimer = electorate.world.after(timeoutMs, () =>
      this.proceed((now) => this.ballot.timeUp(() => new NodeTimeoutError(timeoutMs), now)),
    );
  }

  private proceed(event: (now: Instant) => void): void {
    const { electorate, lock, dealing, ballot } = this;
    event(instant(electorate.world.clock));
    if (this.isOver) return;
    const raises = ballot.takeRaises();
    if (raises.length > 0 && !this.isRaising) {
      this.isRaising = true;
      this.startTimer();
    }
    for (const node of raises) this.askToRaise(node);
    const { verdict } = ballot;
    if (verdict === undefined) return;
    this.isOver = true;
    this.stopTimer?.();
    const isGranted = !(verdict instanceof AggregateError) && verdict.acquired;
    if (isGranted) dealing.deadline = this.deadline;
    else electorate.giveUp(lock, dealing);
    electorate.dealings.ended(lock);
    if (verdict instanceof AggregateError) this.reject(verdict);
    else this.resolve(verdict);
  }
}
