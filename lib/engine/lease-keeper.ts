import { AsyncResource } from 'node:async_hooks';
import { systemClock, type Clock } from './clock.js';
import { instant, type Instant, type Lease, type LeaseSource } from './lease.js';

/** Leases prolonged in one round trip at most. */
const BATCH = 100;
/** Node fires timers beyond 2^31 - 1 ms at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * Renews all leases of a process with one timer.
 *
 * Leases of equal life become due in the order they were armed, so a `Set` per life is a queue: adding and
 * removing cost nothing, and only its head is looked at. A lease is renewed at a third of its life (a little
 * earlier by chance, so that leases taken together do not stay together). While a renewal is under way or has
 * failed, or none is allowed any more, the lease is watched until its deadline and then declared lost. Leases
 * that are never renewed have queues of their own (the negative life) and become due at their deadline.
 */
export class LeaseKeeper {
  private readonly queues = new Map<number, Set<Lease>>();
  private readonly watched = new Set<Lease>();
  private timer: NodeJS.Timeout | undefined;
  private timerAt = Infinity;
  /** Renewals belong to no call: not to the async context of the one that happened to set the timer. */
  private readonly ownContext = new AsyncResource('LeaseKeeper');

  constructor(
    private readonly clock: Clock = systemClock,
    private readonly random: () => number = Math.random,
  ) {}

  /** Leases looked after at the moment. */
  get size(): number {
    let size = this.watched.size;
    for (const queue of this.queues.values()) size += queue.size;
    return size;
  }

  keep(lease: Lease): void {
    if (lease.mayRenew()) {
      const third = lease.ttlMs / 3;
      lease.dueAt = this.clock.mono() + third * (0.9 + 0.1 * this.random());
      this.enqueue(lease.ttlMs, lease);
      return;
    }
    lease.dueAt = this.clock.mono() + lease.remainingMs();
    if (lease.isRenewable) {
      this.watched.add(lease);
      this.wakeAt(lease.dueAt);
    } else {
      this.enqueue(-lease.ttlMs, lease);
    }
  }

  /**
   * Prolongs (or shortens) a lease for its owner. This counts as the renewal under way: one of the keeper's own
   * that crossed it would leave the server with another life than is believed in here.
   *
   * @param extend answers false when the lease is definitely not the owner's any more. What it rejects with is
   * passed on; the lease is then held as long as is certain.
   */
  async extend(lease: Lease, ttlMs: number, extend: () => Promise<boolean>): Promise<void> {
    while (lease.renewal) await lease.renewal;
    if (!lease.isHeld()) return;
    this.forget(lease);
    const sentAt = instant(this.clock);
    const extended = extend();
    const renewal = extended.then(
      (mine) => this.renewed(lease, mine, sentAt, ttlMs),
      (error: unknown) => {
        lease.shorten(sentAt, ttlMs);
        this.notRenewed(lease, error);
      },
    );
    this.watch(lease, renewal);
    this.wakeAt(sentAt.mono + lease.remainingMs());
    await renewal;
    await extended;
  }

  /** The owner settled the lease: it is never renewed again, not even by a renewal that is under way. */
  end(lease: Lease): void {
    lease.end();
    this.forget(lease);
  }

  private enqueue(queueKey: number, lease: Lease): void {
    let queue = this.queues.get(queueKey);
    if (!queue) this.queues.set(queueKey, (queue = new Set()));
    queue.add(lease);
    this.wakeAt(lease.dueAt);
  }

  private forget(lease: Lease): void {
    this.watched.delete(lease);
    this.queues.get(lease.ttlMs)?.delete(lease);
    this.queues.get(-lease.ttlMs)?.delete(lease);
  }

  private wakeAt(mono: number): void {
    if (mono >= this.timerAt) return;
    clearTimeout(this.timer);
    this.timerAt = mono;
    const delay = Math.min(Math.max(mono - this.clock.mono(), 1), LONGEST_TIMER);
    this.timer = this.ownContext.runInAsyncScope(() => setTimeout(() => this.tick(), delay));
    this.timer.unref();
  }

  private tick(): void {
    this.timerAt = Infinity;
    const due = this.takeDue();
    for (const [source, byLife] of due) {
      for (const [ttlMs, leases] of byLife) {
        for (let at = 0; at < leases.length; at += BATCH)
          this.renew(source, leases.slice(at, at + BATCH), ttlMs);
      }
    }
    this.wakeForNext();
  }

  /** Leases to renew now, by source and life. Those past their deadline are declared lost on the way. */
  private takeDue(): Map<LeaseSource, Map<number, Lease[]>> {
    const due = new Map<LeaseSource, Map<number, Lease[]>>();
    const now = this.clock.mono();
    const renewOrLose = (lease: Lease) => {
      if (!lease.isHeld()) return this.forget(lease);
      if (!lease.mayRenew()) {
        this.forget(lease);
        return this.keep(lease);
      }
      const byLife = due.get(lease.source) ?? new Map<number, Lease[]>();
      due.set(lease.source, byLife);
      const leases = byLife.get(lease.ttlMs) ?? [];
      byLife.set(lease.ttlMs, leases);
      leases.push(lease);
    };
    for (const lease of [...this.watched]) {
      if (!lease.isHeld()) this.watched.delete(lease);
      else if (!lease.renewal && lease.dueAt <= now) renewOrLose(lease);
    }
    for (const [queueKey, queue] of this.queues) {
      for (const lease of queue) {
        if (lease.dueAt > now) break;
        queue.delete(lease);
        renewOrLose(lease);
      }
      if (queue.size === 0) this.queues.delete(queueKey);
    }
    return due;
  }

  private renew(source: LeaseSource, leases: Lease[], ttlMs: number): void {
    const sentAt = instant(this.clock);
    const renewal = source.renew(leases, ttlMs).then(
      (answers) =>
        leases.forEach((lease, i) => {
          if (answers[i] === null) this.notRenewed(lease, new Error(`Nobody can tell of "${lease.name}"`));
          else this.renewed(lease, answers[i] === true, sentAt, ttlMs);
        }),
      (error: unknown) => leases.forEach((lease) => this.notRenewed(lease, error)),
    );
    for (const lease of leases) this.watch(lease, renewal);
  }

  private watch(lease: Lease, renewal: Promise<void>): void {
    lease.renewal = renewal;
    this.watched.add(lease);
  }

  private renewed(lease: Lease, mine: boolean, sentAt: Instant, ttlMs: number): void {
    lease.renewal = undefined;
    this.watched.delete(lease);
    if (lease.hasEnded || lease.isLost) return;
    if (!mine) return lease.lose();
    lease.prolong(sentAt, ttlMs);
    this.keep(lease);
  }

  /** No answer is not a loss: tried again, ever so often, until the deadline. */
  private notRenewed(lease: Lease, error: unknown): void {
    lease.renewal = undefined;
    if (!this.watched.has(lease)) return;
    lease.suspect(error);
    const backOff = Math.min(lease.ttlMs / 10, 1_000) * (0.5 + 0.5 * this.random());
    lease.dueAt = this.clock.mono() + backOff;
    this.wakeAt(Math.min(lease.dueAt, this.clock.mono() + lease.remainingMs()));
  }

  private wakeForNext(): void {
    for (const queue of this.queues.values()) {
      const [head] = queue;
      if (head) this.wakeAt(head.dueAt);
    }
    for (const lease of this.watched) {
      const deadline = this.clock.mono() + lease.remainingMs();
      this.wakeAt(lease.renewal ? deadline : Math.min(lease.dueAt, deadline));
    }
  }
}
