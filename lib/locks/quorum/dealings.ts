import type { Clock } from '../../engine/clock.js';
import type { Instant } from '../../engine/lease.js';
import type { LockRef } from '../lock-driver.js';

/** How long a node that did not take a release is remembered, in milliseconds. */
const MEMORY_MS = 60_000;

/** What this process knows of a token. Answers that come late are judged by it. */
export class Dealing {
  /** An attempt is under way or has been granted. What is granted otherwise is given back. */
  wanted = false;
  /** Until when the lock is certainly held; undefined: it is not, or was not granted here. */
  deadline: Instant | undefined;
  /** Requests for a grant that have not been answered. */
  underWay = 0;
  /**
   * Nodes where a release failed, and may yet be executed. They have no vote for this token any more: what
   * they grant to it now, the old release may delete.
   */
  readonly spoiled = new Set<number>();
  /** Monotonic time. */
  keepUntil = 0;
  private readonly releases = new Map<number, { count: number; done: Promise<void>; end: () => void }>();

  /** Settles when the node has answered all releases; undefined: it has. */
  released(node: number): Promise<void> | undefined {
    return this.releases.get(node)?.done;
  }

  /** A release is sent to the node. What it returns is to be called when it has been answered. */
  releasing(node: number): () => void {
    let release = this.releases.get(node);
    if (!release) {
      let end!: () => void;
      const done = new Promise<void>((resolve) => (end = resolve));
      this.releases.set(node, (release = { count: 0, done, end }));
    }
    const { end } = release;
    const releases = release;
    releases.count++;
    return () => {
      if (--releases.count > 0) return;
      this.releases.delete(node);
      end();
    };
  }

  /** Nothing that is still to come can matter. */
  get isOver(): boolean {
    return !this.wanted && this.underWay === 0 && this.releases.size === 0 && this.spoiled.size === 0;
  }
}

/** The dealings of a process. Those that mean nothing any more are removed, at the latest in passing. */
export class Dealings {
  private readonly dealings = new Map<string, Dealing>();
  private cursor = this.dealings.entries();

  constructor(private readonly clock: Clock) {}

  get size(): number {
    return this.dealings.size;
  }

  of(lock: LockRef): Dealing {
    const id = idOf(lock);
    let dealing = this.dealings.get(id);
    if (!dealing) {
      this.dropExpired();
      this.dealings.set(id, (dealing = new Dealing()));
    }
    return dealing;
  }

  /** To be called whenever something about a lock has ended. */
  ended(lock: LockRef): void {
    const id = idOf(lock);
    const dealing = this.dealings.get(id);
    if (dealing?.isOver) this.dealings.delete(id);
    else if (dealing)
      dealing.keepUntil = Math.max(dealing.deadline?.mono ?? 0, this.clock.mono() + MEMORY_MS);
  }

  /** Looks at two of the map, in turn: what was never released goes in time, at no cost. */
  private dropExpired(): void {
    const now = this.clock.mono();
    for (let looked = 0; looked < 2; looked++) {
      const { done, value } = this.cursor.next();
      if (done) {
        this.cursor = this.dealings.entries();
        continue;
      }
      const [id, { keepUntil, underWay }] = value;
      if (underWay === 0 && keepUntil < now) this.dealings.delete(id);
    }
  }
}

/** The length keeps apart what would be the same text. */
function idOf({ name, token }: LockRef): string {
  return `${token.length} ${token}${name}`;
}
