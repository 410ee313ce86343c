import { describeLockDriver as describeWith, type LockDriverUnderTest } from '../../lib/testing/index.js';
import { afterAll, beforeAll, inLane, it } from './lanes.js';

export type { LockDriverUnderTest };

/** The published suite, in a lane of its own. */
export function describeLockDriver(
  name: string,
  create: () => Promise<LockDriverUnderTest>,
  options: { queues?: boolean } = {},
): void {
  inLane(() => describeWith({ describe, it, beforeAll, afterAll }, name, create, options));
}
