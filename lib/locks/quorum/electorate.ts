import type { AcquireAnswer, LockDriver, LockRef } from '../lock-driver.js';
import { type Dealing, Dealings } from './dealings.js';
import { ask, type QuorumNode, type Reply } from './node.js';
import type { World } from './world.js';

/** A node did not answer in time. What it was asked for, it may yet do. */
export class NodeTimeoutError extends Error {
  override readonly name = 'NodeTimeoutError';

  constructor(timeoutMs: number) {
    super(`no answer within ${timeoutMs} ms`);
  }
}

/** A former attempt with the same token was given back, and nobody knows whether the node will still do it. */
export class SpoiledVoteError extends Error {
  override readonly name = 'SpoiledVoteError';

  constructor() {
    super('it did not confirm that a former attempt with the same token was given back');
  }
}

export interface GrantWish {
  readonly lock: LockRef;
  readonly dealing: Dealing;
  readonly ttlMs: number;
  readonly leastFence?: bigint;
}

/** The nodes, and what gives back what they grant too late. */
export class Electorate {
  readonly dealings: Dealings;

  constructor(
    private readonly nodes: readonly QuorumNode[],
    readonly world: World,
    private readonly nodeTimeoutMs: number | undefined,
  ) {
    this.dealings = new Dealings(world.clock);
  }

  get size(): number {
    return this.nodes.length;
  }

  timeoutFor(ttlMs: number): number {
    return this.nodeTimeoutMs ?? Math.min(Math.max(Math.round(ttlMs / 20), 20), 200);
  }

  ask<T>(node: number, request: (driver: LockDriver) => Promise<T>, reply: Reply<T>): void {
    ask(this.nodes[node]!, request, reply);
  }

  /** Asks one node for the lock. What it grants when it is not wanted any more is given back, however late. */
  askForGrant(node: number, wish: GrantWish, reply: Reply<AcquireAnswer>): void {
    const { lock, dealing, ttlMs, leastFence } = wish;
    const request = (driver: LockDriver) => {
      if (dealing.spoiled.has(node)) throw new SpoiledVoteError();
      return driver.acquire(lock.name, lock.token, ttlMs, leastFence);
    };
    // Connections of a pool keep no order: a release that is under way could delete what is granted now.
    const released = dealing.released(node);
    const ended = (answer?: AcquireAnswer) => {
      dealing.underWay--;
      if (answer?.acquired && !dealing.wanted) this.giveBack(lock, dealing, node);
      this.dealings.ended(lock);
    };
    dealing.underWay++;
    this.ask(node, (driver) => (released ? released.then(() => request(driver)) : request(driver)), {
      answered: (answer) => {
        ended(answer);
        reply.answered(answer);
      },
      voteless: (answer, why) => {
        ended(answer);
        reply.failed(why);
      },
      failed: (cause) => {
        ended();
        reply.failed(cause);
      },
    });
  }

  /** Releases on one node. */
  giveBack(lock: LockRef, dealing: Dealing, node: number, reply?: Reply<boolean>): void {
    const answered = dealing.releasing(node);
    const ended = () => {
      answered();
      this.dealings.ended(lock);
    };
    this.ask(node, (driver) => driver.release(lock.name, lock.token), {
      answered: (released) => {
        ended();
        reply?.answered(released);
      },
      voteless: (_, why) => {
        ended();
        reply?.failed(why);
      },
      failed: (cause) => {
        dealing.spoiled.add(node);
        ended();
        reply?.failed(cause);
      },
    });
  }

  /** Releases everywhere, and waits for nobody. What cannot be released runs out by itself. */
  giveUp(lock: LockRef, dealing: Dealing): void {
    dealing.wanted = false;
    dealing.deadline = undefined;
    for (let node = 0; node < this.size; node++) this.giveBack(lock, dealing, node);
  }
}
