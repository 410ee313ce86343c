import type { Clock } from './clock.js';

/** What can prolong leases in batches: a lock driver or a result store. */
export interface LeaseSource {
  /**
   * @returns one answer a lease: false says definitely "not yours any more", null that nobody can tell of this
   * one. Rejects when nobody can tell of any.
   */
  renew(leases: readonly Lease[], ttlMs: number): Promise<(boolean | null)[]>;
}

export interface LeaseTerms {
  readonly name: string;
  readonly token: string;
  readonly fence: bigint;
  readonly ttlMs: number;
  /** No renewal later than this many milliseconds after the grant. 0: never renewed. */
  readonly maxHoldMs: number;
  readonly source: LeaseSource;
  /** Milliseconds for which what the lease hangs on besides its life (a session) may be believed in. */
  readonly beliefMs?: (() => number) | undefined;
  /** Makes the error that `signal` is aborted with. */
  readonly lostError: (name: string) => Error;
  /** Called once when the lease is lost. */
  readonly onLost?: () => void;
  /** Of no use without this one, and released when it is lost. Never rejects. */
  readonly companion?: { release(): Promise<unknown> } | undefined;
}

/**
 * A claim or lock that this process believes to hold until a deadline of its own.
 *
 * The deadline counts from before the request was sent and is shortened by the drift allowance of the
 * Redlock description (1 % of the life plus 2 ms, as its reference implementation has it), so belief ends
 * before the server gives the thing away, whether or not a server ever answers again.
 */
export class Lease {
  readonly name: string;
  readonly token: string;
  readonly fence: bigint;
  readonly source: LeaseSource;
  /** Monotonic time at which the keeper looks at this lease next. Kept by the keeper. */
  dueAt = 0;
  /** The renewal under way, if any. Kept by the keeper. */
  renewal: Promise<void> | undefined;
  ttlMs: number;

  private state: 'held' | 'lost' | 'ended' = 'held';
  private deadlineMono = 0;
  private deadlineWall = 0;
  /** False: never renewed by the keeper, only by its owner. */
  readonly isRenewable: boolean;
  private readonly holdUntil: number;
  private readonly lostError: (name: string) => Error;
  private readonly onLost: (() => void) | undefined;
  private readonly beliefMs: (() => number) | undefined;
  private readonly companion: LeaseTerms['companion'];
  private controller: AbortController | undefined;
  private suspicion: { readonly cause: unknown } | undefined;
  private suspectController: AbortController | undefined;

  constructor(
    terms: LeaseTerms,
    private readonly clock: Clock,
    sentAt: Instant,
  ) {
    this.name = terms.name;
    this.token = terms.token;
    this.fence = terms.fence;
    this.ttlMs = terms.ttlMs;
    this.source = terms.source;
    this.lostError = terms.lostError;
    this.onLost = terms.onLost;
    this.beliefMs = terms.beliefMs;
    this.companion = terms.companion;
    this.isRenewable = terms.maxHoldMs > 0;
    this.holdUntil = sentAt.mono + terms.maxHoldMs;
    this.prolong(sentAt);
  }

  /** Aborts when the lease is lost. Made on demand: most calls never ask for it. */
  get signal(): AbortSignal {
    if (!this.controller) {
      this.controller = new AbortController();
      if (this.state === 'lost') this.controller.abort(this.lostError(this.name));
    }
    return this.controller.signal;
  }

  /** Aborts when a renewal has failed. After one has succeeded again there is another signal. */
  get suspectSignal(): AbortSignal {
    if (!this.suspectController) {
      this.suspectController = new AbortController();
      if (this.state === 'lost') this.suspectController.abort(this.lostError(this.name));
      else if (this.suspicion) this.suspectController.abort(this.suspicion.cause);
    }
    return this.suspectController.signal;
  }

  /** Milliseconds of belief left, by whichever clock is further on. Negative once past. */
  remainingMs(): number {
    const life = Math.min(this.deadlineMono - this.clock.mono(), this.deadlineWall - this.clock.wall());
    return this.beliefMs ? Math.min(life, this.beliefMs()) : life;
  }

  /** Looks at the clocks, not at a timer: right also after the event loop stood still. */
  isHeld(): boolean {
    if (this.state === 'held' && this.remainingMs() <= 0) this.lose();
    return this.state === 'held';
  }

  get isLost(): boolean {
    return this.state === 'lost';
  }

  get hasEnded(): boolean {
    return this.state === 'ended';
  }

  /** Whether a renewal at this moment is still within `maxHoldMs`. */
  mayRenew(): boolean {
    return this.clock.mono() < this.holdUntil;
  }

  /** The server confirmed the lease by an answer to a request sent at `sentAt`. */
  prolong(sentAt: Instant, ttlMs = this.ttlMs): void {
    this.ttlMs = ttlMs;
    if (this.suspicion) this.suspicion = this.suspectController = undefined;
    const life = lifeOf(ttlMs);
    this.deadlineMono = sentAt.mono + life;
    this.deadlineWall = sentAt.wall + life;
  }

  /** The server may have been left with that life, or with the one it knew before. */
  shorten(sentAt: Instant, ttlMs: number): void {
    const life = lifeOf(ttlMs);
    this.deadlineMono = Math.min(this.deadlineMono, sentAt.mono + life);
    this.deadlineWall = Math.min(this.deadlineWall, sentAt.wall + life);
  }

  /** A renewal failed: it is still held, but nobody can tell for how much longer. */
  suspect(cause: unknown): void {
    if (this.state !== 'held' || this.suspicion) return;
    this.suspicion = { cause };
    this.suspectController?.abort(cause);
  }

  lose(): void {
    if (this.state !== 'held') return;
    this.state = 'lost';
    const error = this.controller || this.suspectController ? this.lostError(this.name) : undefined;
    this.suspectController?.abort(error);
    this.controller?.abort(error);
    this.onLost?.();
    void this.companion?.release();
  }

  /** Settled by its owner: nothing is renewed or lost any more. */
  end(): void {
    if (this.state === 'held') this.state = 'ended';
  }
}

/** What is left to believe in after the drift allowance. */
function lifeOf(ttlMs: number): number {
  return ttlMs - (Math.round(ttlMs * 0.01) + 2);
}

/** One reading of both clocks. */
export interface Instant {
  readonly mono: number;
  readonly wall: number;
}

export function instant(clock: Clock): Instant {
  return { mono: clock.mono(), wall: clock.wall() };
}
