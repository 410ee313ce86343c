/**
 * Two clocks, because each of them misleads in its own way: the monotonic one stands still while a machine
 * is suspended, the wall clock jumps when somebody sets it. Whoever says "expired" first is believed.
 */
export interface Clock {
  /** Milliseconds of a clock that never jumps. */
  mono(): number;
  /** Milliseconds since 1970. */
  wall(): number;
}

export const systemClock: Clock = {
  mono: () => performance.now(),
  wall: () => Date.now(),
};
