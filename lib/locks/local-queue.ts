/**
 * Who in this process may ask the backend for a name: one at a time, the others stand in line, in order.
 * Keeps a herd of local waiters from becoming a herd of requests.
 */
export class LocalQueue {
  /** A name is present while somebody has the turn; the set, made for the first of them, holds those behind, in order. */
  private readonly names = new Map<string, Set<() => void> | undefined>();

  /**
   * Waits for the turn, at most `waitMs` milliseconds.
   *
   * @returns `mine`: the caller has the turn and must `leave`; anything else: it has not.
   */
  enter(
    name: string,
    waitMs: number,
    signal?: AbortSignal,
  ): 'mine' | 'occupied' | Promise<'mine' | 'timeout' | 'aborted'> {
    if (!this.names.has(name)) {
      this.names.set(name, undefined);
      return 'mine';
    }
    if (waitMs === 0) return 'occupied';
    const line = this.names.get(name) ?? new Set();
    this.names.set(name, line);
    return new Promise((resolve) => {
      const end = (how: 'mine' | 'timeout' | 'aborted') => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
        line.delete(myTurn);
        resolve(how);
      };
      const myTurn = () => end('mine');
      const abort = () => end('aborted');
      const timer = setTimeout(() => end('timeout'), Math.min(waitMs, 2 ** 31 - 1));
      signal?.addEventListener('abort', abort, { once: true });
      line.add(myTurn);
    });
  }

  /** Hands the turn to the next in line. */
  leave(name: string): void {
    const [next] = this.names.get(name) ?? [];
    if (next) next();
    else this.names.delete(name);
  }
}
