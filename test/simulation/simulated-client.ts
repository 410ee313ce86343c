import type { Clock } from '../../lib/engine/clock.js';
import { instant, Lease } from '../../lib/engine/lease.js';
import type { QuorumNode } from '../../lib/locks/quorum/node.js';
import { QuorumLock } from '../../lib/locks/quorum/quorum.lock.js';
import type { World } from '../../lib/locks/quorum/world.js';
import { RedlockFranchise } from '../../lib/locks/redis/redlock-franchise.js';
import type { History } from './history.js';
import { type NetworkTraits, SimulatedLink } from './simulated-link.js';
import type { SimulatedNode } from './simulated-node.js';
import type { Simulator } from './simulator.js';

export interface ClientTraits {
  readonly rate: number;
  readonly ttlMs: number;
  readonly nodeTimeoutMs: number | undefined;
  readonly driftFactor: number;
  /** Looks at the clock before it believes the nodes. False breaks a rule on purpose. */
  readonly checksDeadlines: boolean;
  /** Undefined: restarted nodes vote at once. */
  readonly maxTtlMs: number | undefined;
  readonly reusesTokens: boolean;
}

/** Longest pause before the next attempt. */
const RETRY_MS = 1_000;

/** A process that takes the lock over and over: the production driver in a simulated world. */
export class SimulatedClient {
  readonly links: SimulatedLink[];
  private readonly clock: Clock;
  private readonly lock: QuorumLock;
  private wallMs = 1_000_000;
  /** What is to happen in it when its pause is over. */
  private waiting: (() => void)[] | undefined;
  private isDead = false;
  private attempts = 0;
  private grants = 0;

  constructor(
    readonly name: string,
    private readonly simulator: Simulator,
    private readonly history: History,
    nodes: readonly SimulatedNode[],
    network: NetworkTraits,
    private readonly traits: ClientTraits,
  ) {
    const { rate, driftFactor, checksDeadlines, maxTtlMs, nodeTimeoutMs } = traits;
    const mono = () => simulator.now * rate;
    this.clock = { mono, wall: () => this.wallMs + mono() };
    const world: World = {
      clock: this.clock,
      random: simulator.random,
      // As if clocks could run backwards: nothing is ever too late.
      driftFactor: checksDeadlines ? driftFactor : -1_000,
      after: (ms, then) => this.after(ms, then),
    };
    this.links = nodes.map((node) => new SimulatedLink(simulator, node, network, (it) => this.inProcess(it)));
    const voters = this.links.map((driver): QuorumNode => {
      if (maxTtlMs === undefined) return { driver };
      return { driver, franchise: new RedlockFranchise(driver.client, () => maxTtlMs, this.clock) };
    });
    this.lock = new QuorumLock('simulated', voters, nodeTimeoutMs ? { nodeTimeoutMs } : {}, world);
    this.contend(simulator.upTo(traits.ttlMs / 4));
  }

  pause(ms: number): void {
    if (this.waiting) return;
    this.simulator.log(`${this.name} is paused for ${ms.toFixed(0)}`);
    const waiting: (() => void)[] = [];
    this.waiting = waiting;
    this.simulator.after(ms, () => {
      this.waiting = undefined;
      for (const happen of waiting) this.simulator.after(0, () => this.inProcess(happen));
    });
  }

  stepWall(ms: number): void {
    this.wallMs += ms;
  }

  die(): void {
    this.simulator.log(`${this.name} dies`);
    this.isDead = true;
    this.history.ended(this.name);
  }

  private contend(afterMs: number): void {
    this.after(afterMs, () => {
      this.attempts++;
      const token = `${this.name}.${this.traits.reusesTokens ? this.grants : this.attempts}`;
      const sentAt = instant(this.clock);
      this.lock.acquire('it', token, this.traits.ttlMs).then(
        (answer) => {
          if (!answer.acquired)
            return this.contend(Math.min(answer.retryAfterMs, this.simulator.upTo(RETRY_MS)));
          this.grants++;
          const lease = this.leaseOf(token, answer.fence, sentAt);
          this.history.granted(this.name, lease);
          this.work(lease, 1 + Math.floor(this.simulator.upTo(5)));
        },
        () => this.contend(this.simulator.upTo(RETRY_MS)),
      );
    });
  }

  private leaseOf(token: string, fence: bigint, sentAt: ReturnType<typeof instant>): Lease {
    // A lease takes off 1 % by itself.
    const ttlMs = (this.traits.ttlMs * (1 - this.traits.driftFactor)) / 0.99;
    return new Lease(
      {
        name: 'it',
        token,
        fence,
        ttlMs,
        maxHoldMs: 0,
        source: { renew: () => Promise.resolve([]) },
        lostError: (name) => new Error(name),
      },
      this.clock,
      sentAt,
    );
  }

  /** Holds it for so many thirds of its life, prolonging it after each. */
  private work(lease: Lease, thirds: number): void {
    this.after((this.traits.ttlMs / 3) * (0.5 + this.simulator.random()), () => {
      if (thirds > 0) this.prolong(lease, thirds);
      else this.leave(lease);
    });
  }

  private prolong(lease: Lease, thirds: number): void {
    const sentAt = instant(this.clock);
    this.lock.extend([lease], this.traits.ttlMs).then(
      ([mine]) => {
        if (!mine) return this.leave(lease);
        lease.prolong(sentAt);
        this.history.extended(this.name, lease);
        this.work(lease, thirds - 1);
      },
      () => (lease.remainingMs() > 0 ? this.work(lease, thirds) : this.leave(lease)),
    );
  }

  private leave(lease: Lease): void {
    this.history.ended(this.name);
    this.simulator.log(`${this.name} leaves ${lease.token}`);
    const again = () => this.contend(this.simulator.upTo(this.traits.ttlMs / 2));
    // Now and then it forgets to: the lock runs out by itself.
    if (this.simulator.chance(0.1)) return again();
    void this.lock
      .release('it', lease.token)
      .catch(() => false)
      .finally(again);
  }

  private after(ms: number, then: () => void): () => void {
    let isWanted = true;
    const callOff = this.simulator.after(ms / this.traits.rate, () =>
      this.inProcess(() => isWanted && then()),
    );
    return () => {
      isWanted = false;
      callOff();
    };
  }

  private inProcess(happen: () => void): void {
    if (this.isDead) return;
    if (this.waiting) this.waiting.push(happen);
    else happen();
  }
}
