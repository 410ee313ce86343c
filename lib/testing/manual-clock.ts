import type { Clock } from '../engine/clock.js';

/**
 * Clocks that stand still until a test moves them. `new LockService(driver, { clock })` reads them for all it
 * believes; its timers stay those of Node.
 */
export class ManualClock implements Clock {
  private monoMs = 1_000;
  private wallMs: number;

  /** @param startsAt what the wall clock shows, in milliseconds since 1970. */
  constructor(startsAt = Date.UTC(2026, 0, 1)) {
    this.wallMs = startsAt;
  }

  mono(): number {
    return this.monoMs;
  }

  wall(): number {
    return this.wallMs;
  }

  /** Time passes on both clocks. */
  advance(ms: number): void {
    this.monoMs += ms;
    this.wallMs += ms;
  }

  /** Somebody sets the wall clock, forwards or (negative) back; or the machine was suspended for so long. */
  stepWall(ms: number): void {
    this.wallMs += ms;
  }
}
