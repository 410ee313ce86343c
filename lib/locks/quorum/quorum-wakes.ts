import type { LockDriver } from '../lock-driver.js';
import { Votes } from './votes.js';
import type { World } from './world.js';

/** How long wake-ups of fewer nodes than a majority are held back at most, in milliseconds. */
const MINORITY_MS = 25;

/**
 * Makes one wake-up of those of the nodes, for one waiter. A release reaches all nodes: when a majority has
 * told, the lock can be had. Fewer may mean that the others are down, or that a contender gave back the few
 * votes it had; then the waiter looks a little later, by chance, so that not all waiters do at once.
 */
export class QuorumWakes {
  private readonly votes: Votes;
  private readonly told = new Set<number>();
  private quietUntil = 0;
  /** Those that have not told of a release yet which has woken already, and until when they may. */
  private stragglers = new Set<number>();
  private stragglersUntil = 0;
  private cancel: (() => void) | undefined;
  private dueAt = Infinity;
  private subscriptions: Promise<() => void>[] = [];
  private hasLeft = false;

  constructor(
    size: number,
    private readonly wake: () => void,
    private readonly world: World,
  ) {
    this.votes = new Votes(size);
  }

  /**
   * Resolves once a majority will tell: one of them is among those a holder releases on. Fewer do when the
   * others cannot.
   *
   * @throws AggregateError when none will.
   */
  subscribe(drivers: readonly LockDriver[], name: string, token: string): Promise<void> {
    this.subscriptions = drivers.map(async (driver, node) => {
      if (!driver.watch) throw new Error(`${driver.name} wakes nobody`);
      return driver.watch(name, () => this.from(node), token);
    });
    return new Promise((resolve, reject) => {
      const { votes } = this;
      const decide = () => {
        if (votes.isWon) resolve();
        else if (votes.count('pending') > 0) return;
        else if (votes.count('yes') > 0) resolve();
        else reject(votes.error());
      };
      this.subscriptions.forEach((subscription, node) => {
        subscription
          .then(
            () => votes.cast(node, 'yes'),
            (cause: unknown) => votes.cast(node, 'failed', cause),
          )
          .finally(decide);
      });
    });
  }

  /** No wake-ups for so many milliseconds: the waiter has collided with others. */
  pause(ms: number): void {
    this.quietUntil = this.world.clock.mono() + ms;
    if (this.dueAt < this.quietUntil) this.schedule(this.quietUntil);
  }

  leave(): void {
    if (this.hasLeft) return;
    this.hasLeft = true;
    this.cancel?.();
    for (const subscription of this.subscriptions) subscription.then((leave) => leave(), ignore);
  }

  private from(node: number): void {
    const now = this.world.clock.mono();
    if (this.hasLeft || (this.stragglers.delete(node) && now < this.stragglersUntil)) return;
    this.told.add(node);
    const isMajority = this.told.size >= this.votes.needed;
    if (isMajority) {
      this.stragglers = new Set(this.subscriptions.keys());
      for (const early of this.told) this.stragglers.delete(early);
      this.stragglersUntil = now + MINORITY_MS;
    }
    const delayMs = isMajority ? 0 : this.world.random() * MINORITY_MS;
    const at = Math.max(now + delayMs, this.quietUntil);
    if (at < this.dueAt) this.schedule(at);
  }

  private schedule(at: number): void {
    this.cancel?.();
    this.dueAt = at;
    const left = at - this.world.clock.mono();
    if (left > 0) this.cancel = this.world.after(left, () => this.fire());
    else this.fire();
  }

  private fire(): void {
    this.cancel = undefined;
    this.dueAt = Infinity;
    this.told.clear();
    this.wake();
  }
}

function ignore(): void {}
