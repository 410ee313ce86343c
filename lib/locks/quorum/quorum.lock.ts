import { type AcquireAnswer, type ExtendAnswer, LockDriver, type LockRef } from '../lock-driver.js';
import { AcquireRound } from './acquire-round.js';
import { Electorate, NodeTimeoutError } from './electorate.js';
import { ExtendRound } from './extend-round.js';
import type { QuorumNode } from './node.js';
import { checkDrivers, checkQuorumOptions, type QuorumOptions } from './options.js';
import { QuorumWakes } from './quorum-wakes.js';
import { Votes } from './votes.js';
import { realWorld, type World } from './world.js';

export type { QuorumOptions };

/** Releases do not know the life. Milliseconds. */
const LONG_LIFE_MS = 60_000;

/**
 * One lock made of the locks of N independent nodes: held by whoever has it on a majority of them. It works as
 * long as a majority works.
 *
 * The algorithm is Redlock's,
 * https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/#the-redlock-algorithm, for any kind
 * of node and with fences: the greatest that the majority gave, made known to that majority before it is used.
 *
 * It excludes as long as nodes do not forget what they granted (or then have no vote for a full life), and as
 * long as clocks run equally fast within 1 %. Whoever is paused for longer than the life of its lock notices
 * too late, as with every lock that ends by itself; only fences, compared where the writes go, help there.
 *
 * After a node has forgotten its fences they grow as long as its clock is right, within the time it had no vote.
 */
export class QuorumLock extends LockDriver {
  private readonly electorate: Electorate;
  private readonly wakes = new Map<string, Set<QuorumWakes>>();
  override readonly sweep?: NonNullable<LockDriver['sweep']>;

  constructor(
    readonly name: string,
    private readonly nodes: readonly QuorumNode[],
    options: QuorumOptions = {},
    private readonly world: World = realWorld,
  ) {
    super();
    this.electorate = new Electorate(nodes, world, options.nodeTimeoutMs);
    const drivers = nodes.map(({ driver }) => driver);
    const swept = drivers.filter((driver) => driver.sweep !== undefined);
    if (swept.length > 0) this.sweep = (limit) => sweepAll(swept, limit);
  }

  /**
   * Asks all nodes at once. A failed attempt is given back on all of them, whatever they said.
   *
   * @throws AggregateError with the errors of the nodes when no majority could be asked in time.
   */
  async acquire(name: string, token: string, ttlMs: number): Promise<AcquireAnswer> {
    const round = new AcquireRound(this.electorate, { name, token }, ttlMs);
    const answer = await round.run();
    // Those who collided wake each other by what they give back, and would collide again.
    if (round.isSplit && !answer.acquired) {
      for (const wakes of this.wakes.get(name) ?? []) wakes.pause(answer.retryAfterMs);
    }
    return answer;
  }

  /**
   * Prolongs where a majority still has the lock; what a node has lost meanwhile is granted anew there.
   *
   * @throws AggregateError with the errors of the nodes when nobody can tell of any of the locks.
   */
  async extend(locks: readonly LockRef[], ttlMs: number): Promise<ExtendAnswer[]> {
    return locks.length === 0 ? [] : new ExtendRound(this.electorate, locks, ttlMs).run();
  }

  /**
   * Releases on all nodes, and waits for as many as it takes to tell.
   *
   * @returns true when a majority had it until now, false when none can have had it.
   * @throws AggregateError with the errors of the nodes when nobody can tell. What was not released runs out.
   */
  release(name: string, token: string): Promise<boolean> {
    const { electorate, world } = this;
    const lock = { name, token };
    const dealing = electorate.dealings.of(lock);
    dealing.wanted = false;
    dealing.deadline = undefined;
    const votes = new Votes(this.nodes.length);
    return new Promise((resolve, reject) => {
      const decide = () => {
        if (votes.isWon) resolve(true);
        else if (votes.isTooMany(votes.count('no'))) resolve(false);
        else if (votes.count('pending') === 0) reject(votes.error());
        else return;
        stopTimer();
      };
      const cast = (node: number, vote: 'yes' | 'no' | 'failed', cause?: unknown) => {
        if (votes.of(node) === 'pending') votes.cast(node, vote, cause);
        decide();
      };
      const timeoutMs = electorate.timeoutFor(LONG_LIFE_MS);
      const stopTimer = world.after(timeoutMs, () => {
        for (const node of votes.nodes('pending')) cast(node, 'failed', new NodeTimeoutError(timeoutMs));
      });
      for (let node = 0; node < this.nodes.length; node++) {
        electorate.giveBack(lock, dealing, node, {
          answered: (released) => cast(node, released ? 'yes' : 'no'),
          failed: (cause) => cast(node, 'failed', cause),
        });
      }
    });
  }

  override async close(): Promise<void> {
    await Promise.all(this.nodes.map(async ({ driver }) => driver.close?.()));
  }

  override async watch(name: string, wake: () => void, token: string): Promise<() => void> {
    const wakes = new QuorumWakes(this.nodes.length, wake, this.world);
    const ofName = this.wakes.get(name) ?? new Set();
    this.wakes.set(name, ofName.add(wakes));
    const leave = () => {
      wakes.leave();
      ofName.delete(wakes);
      if (ofName.size === 0 && this.wakes.get(name) === ofName) this.wakes.delete(name);
    };
    try {
      await wakes.subscribe(
        this.nodes.map(({ driver }) => driver),
        name,
        token,
      );
      return leave;
    } catch (error) {
      leave();
      throw error;
    }
  }
}

/** One batch on each node. One that is down is swept when it is back. */
async function sweepAll(drivers: readonly LockDriver[], limit: number): Promise<number> {
  const sweeps = await Promise.allSettled(drivers.map((driver) => driver.sweep!(limit)));
  const counts = sweeps.flatMap((sweep) => (sweep.status === 'fulfilled' ? [sweep.value] : []));
  const errors = sweeps.flatMap((sweep) => (sweep.status === 'rejected' ? [sweep.reason as unknown] : []));
  if (!counts.length) throw new AggregateError(errors, 'No node could be swept');
  return Math.max(...counts);
}

/**
 * A majority lock out of several others, each of them on a server of its own that shares nothing with the
 * rest: an odd number of them, at least three. An even number works, and stands no more failures than one less.
 * They may be of different kinds, as long as each can raise a fence.
 *
 * @throws TypeError when a driver or an option is not what it should be.
 */
export function quorumLock(drivers: readonly LockDriver[], options: QuorumOptions = {}): QuorumLock {
  checkDrivers(drivers);
  checkQuorumOptions('quorumLock', options);
  return new QuorumLock(
    'quorum',
    drivers.map((driver) => ({ driver })),
    options,
  );
}
