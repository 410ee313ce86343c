import { pause } from '../../engine/backend.js';
import type { Connection } from '../../zookeeper/connection.js';
import {
  Code,
  ConnectionLostError,
  createNode,
  getChildren,
  getData,
  isRefusal,
  statOf,
  sync,
  ZooKeeperError,
} from '../../zookeeper/protocol.js';
import type { Session } from '../../zookeeper/session.js';
import type { Contender } from './contender.js';
import { lineOf, type Place, predecessorOf, prefixOf } from './line.js';
import type { Lookout } from './lookout.js';
import { removeNode } from './removals.js';

/** Where a contender stands. */
export type Standing =
  | { readonly isFirst: true }
  | { readonly isFirst: false; readonly retryAfterMs: number; readonly holder: string };

/** A hold that is over by its holder's own word is being removed: looked at again after so many milliseconds. */
const OVERDUE_MS = 15;
const OVERDUE_LOOKS = 3;

/** Puts contenders in line and tells where they stand. */
export class Attempts {
  constructor(
    private readonly root: string,
    private readonly session: Session,
    private readonly lookout: Lookout,
  ) {}

  /**
   * Attempts until one is answered. A connection that breaks is no answer: the next one tells what became of it.
   *
   * @throws ConnectionLostError when there was no answer within a session's time-out, or nobody waits any more.
   */
  async stand(contender: Contender, ttlMs: number): Promise<Standing> {
    const until = performance.now() + this.session.timeoutMs;
    for (let looks = 1; ; looks++) {
      if (contender.isCalledOff) throw new ConnectionLostError('the attempt was called off');
      const link = await this.session.connected(until - performance.now(), contender);
      try {
        const line = await this.look(link, contender, ttlMs);
        const standing = line && (await this.standing(link, contender, line, looks));
        if (standing) return standing;
      } catch (error) {
        if (!(error instanceof ConnectionLostError) || performance.now() >= until) throw error;
      }
    }
  }

  /** Watches the one before. When there is none, or the contender is not in line, there is nothing to wait for. */
  async watchPredecessor(contender: Contender): Promise<void> {
    const link = await this.session.connected(this.session.timeoutMs / 3);
    while (contender.node !== undefined && contender.session === link.ticket.id) {
      const line = await this.look(link, contender, 0);
      const own = line?.find(({ node }) => node === contender.node);
      if (!line || !own) break;
      const predecessor = predecessorOf(own, line);
      if (!predecessor) break;
      if (await this.lookout.watch(link, `${contender.folder}/${predecessor.node}`, contender)) return;
    }
    if (contender.node !== undefined) contender.wake();
  }

  /** @returns the line; nothing: look again. */
  private look(link: Connection, contender: Contender, ttlMs: number): Promise<Place[] | undefined> {
    // What belonged to an earlier session went with it.
    if (contender.session !== link.ticket.id) contender.forget();
    if (contender.isUncertain) return this.adopt(link, contender);
    if (contender.node === undefined) return this.enter(link, contender, ttlMs);
    return lineIn(link, contender.folder);
  }

  /** The lock's node, the contender's node and the look at the line are sent at once: one round trip. */
  private async enter(link: Connection, contender: Contender, ttlMs: number): Promise<Place[] | undefined> {
    const { folder, token } = contender;
    contender.session = link.ticket.id;
    contender.isUncertain = true;
    const [made, entered, listed] = await Promise.allSettled([
      link.request(createNode(folder, '', 'container')),
      link.request(
        createNode(`${folder}/${prefixOf(token, link.ticket.id)}`, String(ttlMs), 'ephemeral-sequential'),
      ),
      link.request(getChildren(folder)),
    ]);
    if (entered.status === 'fulfilled') {
      const { path, stat } = entered.value.value;
      contender.entered(path, { fence: entered.value.zxid, serverMs: stat.ctime });
      return listed.status === 'fulfilled' ? lineOf(listed.value.value) : undefined;
    }
    if (!(entered.reason instanceof ZooKeeperError)) {
      contender.mayHaveStrays = true;
      throw entered.reason;
    }
    contender.isUncertain = false;
    if (!isRefusal(entered.reason, Code.noNode)) throw entered.reason;
    // Made and gone again: the last in line took it along.
    const isThere = made.status === 'fulfilled' || isRefusal(made.reason, Code.nodeExists);
    if (!isThere && !isRefusal(made.reason, Code.noNode)) throw made.reason;
    if (!isThere) await this.makeRoot(link);
    return undefined;
  }

  /**
   * The answer to `enter` got lost. The name tells whether a node is of this contender and this session; a
   * server that lags behind is made to catch up first, or it may not know the node yet.
   */
  private async adopt(link: Connection, contender: Contender): Promise<Place[] | undefined> {
    const [synced, listed] = await Promise.allSettled([link.request(sync()), lineIn(link, contender.folder)]);
    if (synced.status === 'rejected') throw synced.reason;
    if (listed.status === 'rejected') throw listed.reason;
    const own = listed.value.find(
      ({ token, session }) => token === contender.token && session === contender.session,
    );
    if (!own) {
      contender.isUncertain = false;
      return undefined;
    }
    const path = `${contender.folder}/${own.node}`;
    try {
      const { czxid, ctime } = (await link.request(statOf(path))).value;
      contender.entered(path, { fence: czxid, serverMs: ctime });
      return listed.value;
    } catch (error) {
      if (isRefusal(error, Code.noNode)) return undefined;
      throw error;
    }
  }

  /** @returns nothing: look again. */
  private async standing(
    link: Connection,
    contender: Contender,
    line: readonly Place[],
    looks: number,
  ): Promise<Standing | undefined> {
    const own = line.find(({ node }) => node === contender.node);
    if (!own) return contender.forget();
    // Of a session that is over, or of an attempt whose answer was lost: nobody else would remove them in time.
    const strays = line.filter((place) => place !== own && place.token === contender.token);
    if (strays.length > 0) {
      await Promise.all(strays.map(({ node }) => removeNode(link, `${contender.folder}/${node}`)));
      return undefined;
    }
    contender.isAlone = line.length === 1;
    const predecessor = predecessorOf(own, line);
    if (predecessor) return this.behind(link, contender, predecessor, line[0]!, looks);
    if (this.session.beliefMs() > 0) return { isFirst: true };
    // Being first is worth nothing without the session: the leader has to confirm it.
    await link.request(sync());
    return undefined;
  }

  private async behind(
    link: Connection,
    contender: Contender,
    predecessor: Place,
    holder: Place,
    looks: number,
  ): Promise<Standing | undefined> {
    const { folder } = contender;
    const predecessorPath = `${folder}/${predecessor.node}`;
    const isWaiting = contender.wakes.size > 0 && contender.watched !== predecessorPath;
    const watched = isWaiting ? this.lookout.watch(link, predecessorPath, contender) : undefined;
    const [seen, hold] = await Promise.all([
      watched,
      watched && predecessor === holder ? watched : this.read(link, `${folder}/${holder.node}`),
    ]);
    if (!hold || (isWaiting && !seen)) return undefined;
    const ttlMs = Number(hold.data);
    const leftMs = Math.ceil(hold.mtime + ttlMs - contender.serverMs());
    if (!(leftMs > 0) && looks <= OVERDUE_LOOKS) {
      await pause(OVERDUE_MS);
      return undefined;
    }
    // A holder that does not remove its own node is gone as soon as its session is.
    const retryAfterMs = leftMs > 0 ? Math.min(leftMs, ttlMs) : this.session.timeoutMs;
    return { isFirst: false, retryAfterMs, holder: holder.token };
  }

  private async read(link: Connection, path: string): Promise<{ data: string; mtime: number } | undefined> {
    try {
      const { data, stat } = (await link.request(getData(path, false))).value;
      return { data, mtime: stat.mtime };
    } catch (error) {
      if (isRefusal(error, Code.noNode)) return undefined;
      throw error;
    }
  }

  private async makeRoot(link: Connection): Promise<void> {
    const parts = this.root.split('/').slice(1);
    for (let length = 1; length <= parts.length; length++) {
      try {
        await link.request(createNode(`/${parts.slice(0, length).join('/')}`, '', 'persistent'));
      } catch (error) {
        if (!isRefusal(error, Code.nodeExists)) throw error;
      }
    }
  }
}

/** Empty when the lock's node is not there. */
async function lineIn(link: Connection, folder: string): Promise<Place[]> {
  try {
    return lineOf((await link.request(getChildren(folder))).value);
  } catch (error) {
    if (isRefusal(error, Code.noNode)) return [];
    throw error;
  }
}
