import { FENCE_LEAD_MS } from '../../lib/locks/lock-driver.js';
import type { Simulator } from './simulator.js';

interface Holding {
  readonly token: string;
  /** On the node's clock. */
  until: number;
}

export interface NodeTraits {
  /** How fast its clock runs. */
  readonly rate: number;
  /** How far it is ahead, in milliseconds. */
  readonly aheadMs: number;
  /** Does as a quorum wishes with fences. */
  readonly followsWishes: boolean;
  /** Takes fences from a quorum. False breaks a rule on purpose. */
  readonly raisesFences: boolean;
}

export type Request =
  | { readonly do: 'acquire'; readonly token: string; readonly ttlMs: number; readonly leastFence: bigint }
  | { readonly do: 'extend'; readonly token: string; readonly ttlMs: number }
  | { readonly do: 'release'; readonly token: string }
  | { readonly do: 'raise'; readonly fence: bigint }
  | { readonly do: 'info' };

/** A server with one lock. It does what Redis with the scripts of `RedisLock` does. */
export class SimulatedNode {
  isUp = true;
  /** Another one after each start. */
  run = 0;
  /** Requests that arrive while it is paused. */
  private waiting: (() => void)[] | undefined;
  private holding: Holding | undefined;
  private lastFence = 0n;
  private startedAt = -1_000_000;
  private readonly connections = new Set<() => void>();

  constructor(
    readonly name: string,
    private readonly simulator: Simulator,
    private readonly traits: NodeTraits,
  ) {}

  /** Calls `broken` when the node goes down. */
  connect(broken: () => void): void {
    this.connections.add(broken);
  }

  /** Executes it now, or when the pause is over, unless it goes down before. */
  arrive(execute: () => void): void {
    if (!this.isUp) return;
    if (this.waiting) this.waiting.push(execute);
    else execute();
  }

  crash(keepsMemory: boolean, downMs: number): void {
    if (!this.isUp) return;
    this.simulator.log(`${this.name} crashes ${keepsMemory ? '' : 'and forgets '}for ${downMs.toFixed(0)}`);
    this.isUp = false;
    this.waiting = undefined;
    if (!keepsMemory) {
      this.holding = undefined;
      this.lastFence = 0n;
    }
    for (const broken of [...this.connections]) broken();
    this.connections.clear();
    this.simulator.after(downMs, () => {
      this.isUp = true;
      this.run++;
      this.startedAt = this.clock();
    });
  }

  pause(ms: number): void {
    if (!this.isUp || this.waiting) return;
    const waiting: (() => void)[] = [];
    this.waiting = waiting;
    this.simulator.after(ms, () => {
      if (this.waiting !== waiting) return;
      this.waiting = undefined;
      for (const execute of waiting) this.arrive(execute);
    });
  }

  execute(request: Request): unknown {
    switch (request.do) {
      case 'acquire':
        return this.acquire(request.token, request.ttlMs, request.leastFence);
      case 'extend':
        return this.isHeldBy(request.token) ? this.hold(request.token, request.ttlMs) : false;
      case 'release':
        if (!this.isHeldBy(request.token)) return false;
        this.holding = undefined;
        return true;
      case 'raise':
        if (this.traits.raisesFences && request.fence > this.lastFence) this.lastFence = request.fence;
        return undefined;
      case 'info': {
        const uptime = Math.floor(this.clock() / 1_000) - Math.floor(this.startedAt / 1_000);
        return `run_id:${this.name}-${this.run}\r\nuptime_in_seconds:${uptime}\r\n`;
      }
    }
  }

  private acquire(token: string, ttlMs: number, leastFence: bigint): unknown {
    const left = this.holding ? this.holding.until - this.clock() : 0;
    if (this.holding && left > 0 && this.holding.token !== token) {
      return { acquired: false, retryAfterMs: left, holder: this.holding.token };
    }
    this.hold(token, ttlMs);
    const time = BigInt(Math.floor((this.simulator.now + this.traits.aheadMs) * 1_000));
    this.lastFence = time > this.lastFence ? time : this.lastFence + 1n;
    const isNear = leastFence <= time + BigInt(FENCE_LEAD_MS * 1_000);
    if (this.traits.followsWishes && leastFence > this.lastFence && isNear) this.lastFence = leastFence;
    return { acquired: true, fence: this.lastFence };
  }

  private hold(token: string, ttlMs: number): boolean {
    this.holding = { token, until: this.clock() + ttlMs };
    return true;
  }

  private isHeldBy(token: string): boolean {
    return this.holding?.token === token && this.holding.until > this.clock();
  }

  private clock(): number {
    return this.simulator.now * this.traits.rate;
  }
}
