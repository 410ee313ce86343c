import type { Lease } from '../../lib/engine/lease.js';
import type { Simulator } from './simulator.js';

/** Who has the lock in the belief of its process, and whether that is right. */
export class History {
  readonly violations: string[] = [];
  grants = 0;
  extensions = 0;
  private readonly believers = new Map<string, Lease>();
  private lastFence = 0n;
  private lastHolder = '';

  constructor(private readonly simulator: Simulator) {}

  granted(client: string, lease: Lease): void {
    this.grants++;
    this.simulator.log(`${client} is granted ${lease.token}, fence ${lease.fence}`);
    for (const [other, held] of this.believers) {
      if (held.remainingMs() > 0) this.violated(`${client} is granted what ${other} holds as ${held.token}`);
    }
    if (lease.fence <= this.lastFence) this.violated(`fence ${lease.fence} after ${this.lastFence}`);
    this.lastFence = lease.fence > this.lastFence ? lease.fence : this.lastFence;
    this.lastHolder = lease.token;
    this.believers.set(client, lease);
  }

  extended(client: string, lease: Lease): void {
    this.extensions++;
    this.simulator.log(`${client} is prolonged ${lease.token}`);
    if (this.lastHolder !== lease.token) {
      this.violated(`${client} is prolonged ${lease.token} after ${this.lastHolder} has had it`);
    }
  }

  /** It gives it back, or has lost it, or is gone. */
  ended(client: string): void {
    this.believers.delete(client);
  }

  private violated(what: string): void {
    this.simulator.log(`VIOLATION: ${what}`);
    this.violations.push(what);
  }
}
