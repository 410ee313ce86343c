import { describeLockDriver as describeWith, type LockDriverUnderTest } from '../../lib/testing/index.js';

export type { LockDriverUnderTest };

/** The published suite, run by Jest. */
export function describeLockDriver(
  name: string,
  create: () => Promise<LockDriverUnderTest>,
  options: { queues?: boolean } = {},
): void {
  describeWith({ describe, it, beforeAll, afterAll }, name, create, options);
}
