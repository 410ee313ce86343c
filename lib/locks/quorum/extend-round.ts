import { type Instant, instant } from '../../engine/lease.js';
import type { ExtendAnswer, LockRef } from '../lock-driver.js';
import type { Dealing } from './dealings.js';
import { type Electorate, NodeTimeoutError } from './electorate.js';
import { ExtendBallot } from './extend-ballot.js';
import { deadlineOf, earlier } from './validity.js';

interface Candidate {
  readonly lock: LockRef;
  readonly dealing: Dealing;
  readonly ballot: ExtendBallot;
  isOver: boolean;
}

/** Prolongs several locks: one request to each node for all of them, and one ballot each. */
export class ExtendRound {
  private readonly candidates: readonly Candidate[];
  private readonly newDeadline: Instant;
  private readonly timeoutMs: number;
  private open: number;
  private stopTimer: (() => void) | undefined;
  private isRepairing = false;
  private isOver = false;
  private resolve!: (answers: ExtendAnswer[]) => void;
  private reject!: (error: AggregateError) => void;

  constructor(
    private readonly electorate: Electorate,
    private readonly locks: readonly LockRef[],
    private readonly ttlMs: number,
  ) {
    const { clock, driftFactor } = electorate.world;
    this.newDeadline = deadlineOf(instant(clock), ttlMs, driftFactor);
    this.timeoutMs = electorate.timeoutFor(ttlMs);
    this.open = locks.length;
    this.candidates = locks.map((lock) => {
      const dealing = electorate.dealings.of(lock);
      const ballot = new ExtendBallot(electorate.size, dealing.deadline);
      dealing.wanted = true;
      // A shorter life: from now on some nodes may let it go earlier, whatever becomes of this round.
      if (dealing.deadline) dealing.deadline = earlier(dealing.deadline, this.newDeadline);
      return { lock, dealing, ballot, isOver: false };
    });
  }

  /** @throws AggregateError when nobody can tell of any of them. */
  run(): Promise<ExtendAnswer[]> {
    return new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
      this.startTimer();
      for (let node = 0; node < this.electorate.size; node++) this.askToExtend(node);
    });
  }

  private askToExtend(node: number): void {
    const told = (answers: readonly ExtendAnswer[], why?: Error) =>
      this.proceed((now) =>
        this.candidates.forEach(({ ballot }, index) => {
          if (answers[index] === null) ballot.failed(node, new Error('It cannot tell'), now);
          else if (!answers[index]) ballot.gone(node, now, why);
          else if (why) ballot.failed(node, why, now);
          else ballot.kept(node, now);
        }),
      );
    this.electorate.ask(node, (driver) => driver.extend(this.locks, this.ttlMs), {
      answered: told,
      voteless: told,
      failed: (cause) =>
        this.proceed((now) => this.candidates.forEach(({ ballot }) => ballot.failed(node, cause, now))),
    });
  }

  private repair({ lock, dealing, ballot }: Candidate, node: number): void {
    this.electorate.askForGrant(
      node,
      { lock, dealing, ttlMs: this.ttlMs },
      {
        answered: ({ acquired }) => this.proceed((now) => ballot.repaired(node, acquired, now)),
        failed: (cause) => this.proceed((now) => ballot.failed(node, cause, now)),
      },
    );
  }

  private startTimer(): void {
    this.stopTimer?.();
    const { timeoutMs } = this;
    this.stopTimer = this.electorate.world.after(timeoutMs, () =>
      this.proceed((now) => {
        for (const { ballot } of this.candidates) ballot.timeUp(() => new NodeTimeoutError(timeoutMs), now);
      }),
    );
  }

  private proceed(event: (now: Instant) => void): void {
    event(instant(this.electorate.world.clock));
    for (const candidate of this.candidates) this.follow(candidate);
    if (this.open > 0 || this.isOver) return;
    this.isOver = true;
    this.stopTimer?.();
    const verdicts = this.candidates.map(({ ballot }) => ballot.verdict);
    const answers = verdicts.map((verdict) => (typeof verdict === 'boolean' ? verdict : null));
    const [first] = verdicts;
    if (first instanceof AggregateError && answers.every((answer) => answer === null)) this.reject(first);
    else this.resolve(answers);
  }

  private follow(candidate: Candidate): void {
    const { ballot, dealing, lock } = candidate;
    const repairs = ballot.takeRepairs();
    if (repairs.length > 0 && !this.isRepairing && !this.isOver) {
      this.isRepairing = true;
      this.startTimer();
    }
    for (const node of repairs) if (dealing.wanted) this.repair(candidate, node);
    if (ballot.verdict === undefined || candidate.isOver) return;
    candidate.isOver = true;
    this.open--;
    if (ballot.verdict === true && dealing.wanted) dealing.deadline = this.newDeadline;
    if (ballot.verdict === false) {
      dealing.wanted = false;
      dealing.deadline = undefined;
    }
    this.electorate.dealings.ended(lock);
  }
}
