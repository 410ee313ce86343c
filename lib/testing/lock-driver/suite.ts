import { lifecycle, type TestRunner } from '../test-runner.js';
import { holdTests } from './hold.tests.js';
import { lineTests } from './line.tests.js';
import { type LockDriverUnderTest, LockSubject } from './subject.js';
import { watchTests } from './watch.tests.js';

/**
 * Every promise of `LockDriver`, for any driver. Allow a test thirty seconds.
 *
 * @param runner the functions of your test runner, see `TestRunner`.
 * @param create is called once, before the tests; each of them has locks of its own.
 * @param options `queues`: what the driver says of itself.
 * @example
 * ```ts
 * describeLockDriver({ describe, it, beforeAll, afterAll }, 'mine', async () => {
 *   const [driver, second] = [myLock({ client: one }), myLock({ client: other })];
 *   return { driver, second, cleanup: async () => { await one.close(); await other.close(); } };
 * });
 * ```
 */
export function describeLockDriver(
  runner: TestRunner,
  name: string,
  create: () => Promise<LockDriverUnderTest>,
  { queues = false }: { queues?: boolean } = {},
): void {
  runner.describe(`LockDriver: ${name}`, () => {
    const subject = new LockSubject(
      lifecycle(runner, create, ({ cleanup }) => cleanup()),
      queues,
    );
    holdTests(runner, subject);
    if (queues) lineTests(runner, subject);
    else watchTests(runner, subject);
  });
}
