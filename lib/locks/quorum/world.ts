import { type Clock, systemClock } from '../../engine/clock.js';

/** What a quorum needs from outside. Tests put a world of their own in its place. */
export interface World {
  readonly clock: Clock;
  /** From 0 up to, not including, 1. */
  readonly random: () => number;
  /** Calls `then` once, `ms` milliseconds from now, unless the returned function is called before. */
  readonly after: (ms: number, then: () => void) => () => void;
  /** How much faster a node's clock may run than ours, as a share of the life. */
  readonly driftFactor: number;
}

export const realWorld: World = {
  clock: systemClock,
  random: Math.random,
  after: (ms, then) => {
    let last: NodeJS.Immediate | undefined;
    // When the process stood still, timers fire before the sockets are read: answers that are there come first.
    const timer = setTimeout(() => (last = setImmediate(then)), ms);
    return () => {
      clearTimeout(timer);
      clearImmediate(last);
    };
  },
  driftFactor: 0.01,
};
