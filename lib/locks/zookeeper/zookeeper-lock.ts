import { systemClock } from '../../engine/clock.js';
import type { Connection } from '../../zookeeper/connection.js';
import { Code, ConnectionLostError, isRefusal, setData, statOf } from '../../zookeeper/protocol.js';
import { Session } from '../../zookeeper/session.js';
import { type AcquireAnswer, type ExtendAnswer, LockDriver, type LockRef } from '../lock-driver.js';
import { Attempts } from './attempts.js';
import { Contender, keyOf } from './contender.js';
import { HoldLimits } from './hold-limits.js';
import { folderOf } from './line.js';
import { Lookout } from './lookout.js';
import { checkZooKeeperOptions, type ZooKeeperLockOptions } from './options.js';
import { Removals } from './removals.js';

export type { ZooKeeperLockOptions };

const CLOSE_MS = 1_000;

/**
 * Locks in ZooKeeper, 3.5.3 or newer: https://zookeeper.apache.org/doc/current/recipes.html ("Locks"), with the
 * additions of Curator's recipe (the node's name says whose it is; what is given up is removed in any case).
 *
 * The session is the lease: one for all locks of a driver, kept alive over one connection. `ttlMs` only bounds
 * a hold that is not prolonged. Waiters stand in line at the server, first come first served, and each watches
 * only the one before it. The fence is the number of the transaction that made the node.
 *
 * Excludes as long as a majority of the ensemble keeps its disks. Who holds a lock is told of the session's
 * end, or of not knowing, before the servers give the lock away.
 *
 * The client is our own, because the lock is as safe as it is: the pure JavaScript one on npm does not notice a server
 * that stopped answering and keeps operations for ever while it is not connected, the native one needs a
 * compiler, and neither tells when the request was sent whose answer proves the session. It speaks the plain
 * protocol: no TLS, no SASL, no digest logins, nodes are open to whoever reaches the server.
 */
export class ZooKeeperLock extends LockDriver {
  readonly name = 'zookeeper';
  override readonly queues = true;
  readonly #root: string;
  readonly #session: Session;
  readonly #removals: Removals;
  readonly #lookout: Lookout;
  readonly #attempts: Attempts;
  readonly #contenders = new Map<string, Contender>();
  readonly #limits = new HoldLimits(systemClock, (contender) => {
    this.#leave(contender).catch(inBackground);
  });

  /** @throws TypeError when an option is not what it should be. */
  constructor(options: ZooKeeperLockOptions) {
    super();
    const { servers, root, sessionTimeoutMs } = checkZooKeeperOptions(options);
    this.#root = root;
    this.#lookout = new Lookout(() => this.#session.link);
    this.#session = new Session(servers, sessionTimeoutMs, {
      lost: (isOver) => this.#lost(isOver),
      resumed: (isSame) => this.#resumed(isSame),
      told: (event) => this.#lookout.told(event),
    });
    this.#removals = new Removals(this.#session);
    this.#attempts = new Attempts(root, this.#session, this.#lookout);
  }

  acquire(name: string, token: string, ttlMs: number): Promise<AcquireAnswer> {
    const contender = this.#contender(name, token);
    const from = performance.now();
    return contender.inTurn(async () => {
      const standing = await this.#attempts.stand(contender, Math.ceil(ttlMs));
      if (!standing.isFirst) {
        const { retryAfterMs, holder } = standing;
        return { acquired: false, retryAfterMs, holder };
      }
      if (contender.isCalledOff) throw new ConnectionLostError('the attempt was called off');
      contender.isHeld = true;
      this.#limits.arm(contender, ttlMs, from);
      return {
        acquired: true,
        fence: contender.fence,
        whenLost: (lost) => contender.whenLost(lost),
        beliefMs: () => this.#session.beliefMs(),
      };
    });
  }

  async extend(locks: readonly LockRef[], ttlMs: number): Promise<ExtendAnswer[]> {
    const from = performance.now();
    const held = locks.map(({ name, token }) =>
      this.#contenders.get(keyOf(folderOf(this.#root, name), token)),
    );
    if (!held.some((contender) => contender?.isHeld)) return locks.map(() => false);
    const link = await this.#session.connected(this.#session.timeoutMs / 3);
    const answers = await Promise.allSettled(
      held.map((contender) => this.#prolong(link, contender, Math.ceil(ttlMs), from)),
    );
    const failed = answers.find((answer) => answer.status === 'rejected');
    if (failed && answers.every(({ status }) => status === 'rejected')) throw failed.reason;
    return answers.map((answer) => (answer.status === 'fulfilled' ? answer.value : null));
  }

  release(name: string, token: string): Promise<boolean> {
    const folder = folderOf(this.#root, name);
    const contender = this.#contenders.get(keyOf(folder, token));
    if (!contender) return this.#removals.add({ folder, token, withFolder: true });
    return this.#leave(contender);
  }

  /** Wakes `token` when the contender before it is gone. Only who stands in line is woken. */
  override async watch(name: string, wake: () => void, token: string): Promise<() => void> {
    const contender = this.#contender(name, token);
    const listener = () => wake();
    contender.wakes.add(listener);
    const stop = () => {
      contender.wakes.delete(listener);
      if (contender.session === 0n && contender.wakes.size === 0) this.#contenders.delete(contender.key);
    };
    try {
      await contender.inTurn(() => this.#attempts.watchPredecessor(contender));
      return stop;
    } catch (error) {
      stop();
      throw error;
    }
  }

  /** Ends the session and the connection. Locks that are still held are lost. */
  override close(): Promise<void> {
    return this.#session.close(CLOSE_MS);
  }

  #contender(name: string, token: string): Contender {
    const folder = folderOf(this.#root, name);
    const known = this.#contenders.get(keyOf(folder, token));
    if (known) return known;
    const contender = new Contender(folder, token);
    this.#contenders.set(contender.key, contender);
    return contender;
  }

  async #prolong(
    link: Connection,
    contender: Contender | undefined,
    ttlMs: number,
    from: number,
  ): Promise<boolean> {
    if (!contender?.isHeld || contender.session !== link.ticket.id) return false;
    try {
      await link.request(setData(contender.path, String(ttlMs)));
    } catch (error) {
      if (!isRefusal(error, Code.noNode)) throw error;
      this.#lose(contender);
      return false;
    }
    if (contender.isHeld) this.#limits.arm(contender, ttlMs, from);
    return contender.isHeld;
  }

  /** Out of the line, whatever it takes. */
  async #leave(contender: Contender): Promise<boolean> {
    const wasHeld = contender.isHeld;
    this.#forget(contender);
    return contender.inTurn(async () => {
      this.#lookout.forget(contender);
      const { folder, token, session, isAlone: withFolder } = contender;
      if (contender.node === undefined && !contender.isUncertain) return false;
      const node = contender.mayHaveStrays ? undefined : contender.node;
      const wasFirst = await this.#removals.add({ folder, token, node, session, withFolder });
      return wasHeld && wasFirst;
    });
  }

  #forget(contender: Contender): void {
    contender.isHeld = false;
    contender.isCalledOff = true;
    contender.stopWaiting?.();
    this.#limits.disarm(contender);
    this.#contenders.delete(contender.key);
  }

  #lose(contender: Contender): void {
    if (!contender.isHeld) return;
    this.#forget(contender);
    contender.lose();
  }

  #lost(isOver: boolean): void {
    for (const contender of [...this.#contenders.values()]) {
      if (!contender.isHeld) continue;
      this.#lose(contender);
      if (!isOver) this.#leave(contender).catch(inBackground);
    }
  }

  #resumed(isSame: boolean): void {
    this.#removals.resume();
    this.#lookout.wakeAll(this.#contenders.values());
    if (isSame) for (const contender of this.#contenders.values()) this.#verify(contender);
  }

  /** The session was resumed. Its nodes should still be there. */
  #verify(contender: Contender): void {
    if (!contender.isHeld) return;
    this.#session.link?.request(statOf(contender.path)).catch((error: unknown) => {
      if (isRefusal(error, Code.noNode)) this.#lose(contender);
    });
  }
}

/** A removal goes on until it is done. */
function inBackground(): void {}

/** Locks in a ZooKeeper ensemble. @throws TypeError when an option is not what it should be. */
export function zookeeperLock(options: ZooKeeperLockOptions): ZooKeeperLock {
  return new ZooKeeperLock(options);
}
