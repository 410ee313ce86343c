import type { Connection } from '../../zookeeper/connection.js';
import {
  Code,
  ConnectionLostError,
  deleteNode,
  getChildren,
  isRefusal,
  sync,
} from '../../zookeeper/protocol.js';
import type { Session } from '../../zookeeper/session.js';
import { lineOf } from './line.js';

/** Pause before the next try of what a server refused, in milliseconds. */
const RETRY_MS = 1_000;

export interface Removal {
  /** Path of the lock's node. */
  readonly folder: string;
  readonly token: string;
  /** Its node. Undefined: all nodes of the token, looked for. */
  readonly node?: string | undefined;
  /**
   * The nodes are those of this session, and go with it. Undefined: of any; then nothing is known of a node, and
   * there is one try.
   */
  readonly session?: bigint | undefined;
  /** Whether the lock's node should go as well, if it is empty. */
  readonly withFolder: boolean;
}

interface Task {
  readonly removal: Removal;
  readonly resolve: (wasHolder: boolean) => void;
  readonly reject: (error: Error) => void;
  isRunning: boolean;
}

/**
 * Takes contenders out of the line, as often as it needs: everybody behind a node that was left there would wait
 * for the end of a session that goes on.
 */
export class Removals {
  private readonly tasks = new Set<Task>();

  constructor(private readonly session: Session) {}

  /** Removals not yet done. */
  get size(): number {
    return this.tasks.size;
  }

  /**
   * @returns whether the node was there (among several: whether the first in line was among them).
   * @throws ConnectionLostError when nobody answered. What is known to be there is removed in the background all
   * the same, or goes with the session.
   */
  add(removal: Removal): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const task: Task = { removal, resolve, reject, isRunning: false };
      this.tasks.add(task);
      if (this.session.link) return void this.run(task);
      this.session.connected(this.session.timeoutMs).then(
        () => this.run(task),
        (error: Error) => this.failed(task, error),
      );
    });
  }

  /** Connected again: what could not be done is done now. */
  resume(): void {
    for (const task of this.tasks) void this.run(task);
  }

  private async run(task: Task): Promise<void> {
    const { link } = this.session;
    if (!link || task.isRunning || !this.tasks.has(task)) return;
    const { session } = task.removal;
    if (session !== undefined && session !== link.ticket.id) return this.done(task, false);
    task.isRunning = true;
    try {
      this.done(task, await remove(link, task.removal));
    } catch (error) {
      this.failed(task, error as Error);
      if (!(error instanceof ConnectionLostError)) setTimeout(() => this.run(task), RETRY_MS).unref();
    } finally {
      task.isRunning = false;
      // The connection may be another one by now, and `resume` has found the task running.
      if (this.session.link && this.session.link !== link) void this.run(task);
    }
  }

  /** Sent again, a removal could not be told from a loss: the caller hears nothing more. */
  private failed(task: Task, error: Error): void {
    if (task.removal.session === undefined) this.tasks.delete(task);
    task.reject(error);
  }

  private done(task: Task, wasHolder: boolean): void {
    this.tasks.delete(task);
    task.resolve(wasHolder);
  }
}

async function remove(link: Connection, removal: Removal): Promise<boolean> {
  const { folder, token, node, session, withFolder } = removal;
  if (node !== undefined) {
    const removed = removeNode(link, `${folder}/${node}`);
    if (withFolder) tryRemoveFolder(link, folder);
    return removed;
  }
  const synced = link.request(sync());
  const children = link.request(getChildren(folder));
  const [, listed] = await Promise.allSettled([synced, children]);
  if (listed.status === 'rejected') {
    if (isRefusal(listed.reason, Code.noNode)) return false;
    throw listed.reason;
  }
  const line = lineOf(listed.value.value);
  const mine = line.filter(
    (place) => place.token === token && (session === undefined || place.session === session),
  );
  const removed = await Promise.all(mine.map((place) => removeNode(link, `${folder}/${place.node}`)));
  if (withFolder) tryRemoveFolder(link, folder);
  return mine[0] === line[0] && removed[0] === true;
}

/** @returns false when it was not there. */
export async function removeNode(link: Connection, path: string): Promise<boolean> {
  try {
    await link.request(deleteNode(path));
    return true;
  } catch (error) {
    if (isRefusal(error, Code.noNode)) return false;
    throw error;
  }
}

/** Does nothing when somebody is in line. What is left behind for another reason the server removes: it is a container. */
function tryRemoveFolder(link: Connection, folder: string): void {
  link.request(deleteNode(folder)).catch(() => undefined);
}
