import { describeLockDriver as describeWith, type LockDriverUnderTest } from '../../lib/testing/index.js';
import { lane } from './lanes.js';

export type { LockDriverUnderTest };

/** The published suite, in a lane of its own. */
export function describeLockDriver(
  name: string,
  create: () => Promise<LockDriverUnderTest>,
  options: { queues?: boolean } = {},
): void {
  lane((runner) => describeWith(runner, name, create, options));
}
