/** Attempts under way, at most. More wait for a pool that does not get on. */
const MOST_UNDER_WAY = 10_000;

interface Take {
  isWanted: boolean;
  ended: Promise<void>;
  readonly before: Take | undefined;
}

/**
 * Attempts that have not been answered. Who gives a lock back that he may yet get calls the attempt off, if it
 * waits for a connection; if it was sent he waits for the answer. So the release comes after it whatever
 * connection it takes: released first, the lock would be locked for its whole life by nobody.
 */
export class Takes {
  readonly #takes = new Map<string, Take>();

  /** Does `work`, which asks `wanted` right before it sends. */
  async during<T>(id: string, token: string, work: (wanted: () => boolean) => Promise<T>): Promise<T> {
    if (this.#takes.size >= MOST_UNDER_WAY) {
      throw new Error(`${MOST_UNDER_WAY} attempts wait for the pool of connections or their answer`);
    }
    const key = `${id} ${token}`;
    const before = this.#takes.get(key);
    let end = (): void => undefined;
    const own = new Promise<void>((resolve) => (end = resolve));
    const take: Take = { isWanted: true, before, ended: before ? before.ended.then(() => own) : own };
    this.#takes.set(key, take);
    try {
      return await work(() => take.isWanted);
    } finally {
      end();
      if (this.#takes.get(key) === take) this.#takes.delete(key);
    }
  }

  /** Resolves when nothing is under way for this lock under this token. */
  async callOff(id: string, token: string): Promise<void> {
    const last = this.#takes.get(`${id} ${token}`);
    for (let take = last; take; take = take.before) take.isWanted = false;
    await last?.ended;
  }
}
