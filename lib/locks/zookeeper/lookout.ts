import type { Connection } from '../../zookeeper/connection.js';
import { Code, getData, isRefusal, type WatchEvent } from '../../zookeeper/protocol.js';
import type { Contender } from './contender.js';

/**
 * Who watches which node. A contender watches only the one before it, so a release wakes one and not all. The
 * watch is set by reading the node: unlike `exists` that leaves none behind on a node that is gone.
 */
export class Lookout {
  private readonly watchers = new Map<string, Contender>();

  constructor(private readonly link: () => Connection | undefined) {}

  /** @returns what the node holds; undefined when it is gone. */
  async watch(
    link: Connection,
    path: string,
    contender: Contender,
  ): Promise<{ data: string; mtime: number } | undefined> {
    this.forget(contender);
    contender.watched = path;
    this.watchers.set(path, contender);
    try {
      const { data, stat } = (await link.request(getData(path, true))).value;
      return { data, mtime: stat.mtime };
    } catch (error) {
      this.forget(contender);
      if (isRefusal(error, Code.noNode)) return undefined;
      throw error;
    }
  }

  forget(contender: Contender): void {
    if (contender.watched === undefined) return;
    if (this.watchers.get(contender.watched) === contender) this.watchers.delete(contender.watched);
    contender.watched = undefined;
  }

  /** The connection took all watches along: everybody has to look for himself. */
  wakeAll(contenders: Iterable<Contender>): void {
    this.watchers.clear();
    for (const contender of contenders) {
      contender.watched = undefined;
      contender.wake();
    }
  }

  told({ type, path }: WatchEvent): void {
    const contender = this.watchers.get(path);
    if (!contender) return;
    const link = this.link();
    if (type === 'deleted' || !link) return this.wake(contender);
    // The one before only prolonged its hold. A watch serves once.
    this.watch(link, path, contender).then(
      (found) => found ?? this.wake(contender),
      () => this.wake(contender),
    );
  }

  private wake(contender: Contender): void {
    this.forget(contender);
    contender.wake();
  }
}
