import type { LockDriver } from '../lock-driver.js';

/** One voter. */
export interface QuorumNode {
  readonly driver: LockDriver;
  readonly franchise?: Franchise;
}

/** For nodes that have no vote at times, because they may have forgotten what they granted. */
export interface Franchise {
  /** Called when an answer is there: why it does not count; undefined: it does. */
  objection(): Error | undefined | Promise<Error | undefined>;
}

/** Exactly one of them is called, later. */
export interface Reply<T> {
  readonly answered: (answer: T) => void;
  readonly failed: (cause: unknown) => void;
  /** It answered, but has no vote. Where it is left out, that is a failure. */
  readonly voteless?: (answer: T, why: Error) => void;
}

export function ask<T>(
  { driver, franchise }: QuorumNode,
  request: (driver: LockDriver) => Promise<T>,
  reply: Reply<T>,
): void {
  const { failed } = reply;
  const tell = (answer: T, why: Error | undefined) => {
    if (!why) reply.answered(answer);
    else if (reply.voteless) reply.voteless(answer, why);
    else failed(why);
  };
  promised(() => request(driver)).then((answer) => {
    const why = franchise?.objection();
    if (why instanceof Promise) why.then((late) => tell(answer, late), failed);
    else tell(answer, why);
  }, failed);
}

/** A synchronous throw becomes a rejection. */
function promised<T>(request: () => Promise<T>): Promise<T> {
  try {
    return request();
  } catch (error) {
    return Promise.reject(error);
  }
}
