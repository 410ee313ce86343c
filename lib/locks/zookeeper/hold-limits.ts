import type { Clock } from '../../engine/clock.js';
import type { Contender } from './contender.js';

const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * Ends holds that were not prolonged, with one timer for all. Holds of equal life end in the order they were
 * armed, so a `Set` per life is a queue.
 */
export class HoldLimits {
  private readonly queues = new Map<number, Set<Contender>>();
  private timer: NodeJS.Timeout | undefined;
  private timerAt = Infinity;

  constructor(
    private readonly clock: Clock,
    private readonly over: (contender: Contender) => void,
  ) {}

  arm(contender: Contender, ttlMs: number, from: number): void {
    this.disarm(contender);
    contender.limit = { ttlMs, until: from + ttlMs };
    const queue = this.queues.get(ttlMs) ?? new Set();
    this.queues.set(ttlMs, queue.add(contender));
    this.wakeAt(contender.limit.until);
  }

  disarm(contender: Contender): void {
    if (!contender.limit) return;
    const { ttlMs } = contender.limit;
    const queue = this.queues.get(ttlMs);
    if (queue?.delete(contender) && queue.size === 0) this.queues.delete(ttlMs);
    contender.limit = undefined;
  }

  private wakeAt(mono: number): void {
    if (mono >= this.timerAt) return;
    clearTimeout(this.timer);
    this.timerAt = mono;
    const delay = Math.min(Math.max(Math.ceil(mono - this.clock.mono()), 1), LONGEST_TIMER);
    this.timer = setTimeout(() => this.tick(), delay).unref();
  }

  private tick(): void {
    this.timerAt = Infinity;
    const now = this.clock.mono();
    for (const queue of [...this.queues.values()]) {
      for (const contender of queue) {
        if (contender.limit!.until > now) {
          this.wakeAt(contender.limit!.until);
          break;
        }
        this.disarm(contender);
        this.over(contender);
      }
    }
  }
}
