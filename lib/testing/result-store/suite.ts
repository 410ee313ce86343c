import { lifecycle, type TestRunner } from '../test-runner.js';
import { actTests } from './act.tests.js';
import { claimTests } from './claim.tests.js';
import { completeTests } from './complete.tests.js';
import { identityTests } from './identity.tests.js';
import { listTests } from './list.tests.js';
import { releaseTests } from './release.tests.js';
import { renewTests } from './renew.tests.js';
import { retentionTests } from './retention.tests.js';
import { StoreSubject, type StoreUnderTest } from './subject.js';

/**
 * Every promise of `ResultStore`, for any store. Allow a test thirty seconds.
 *
 * @param runner the functions of your test runner, see `TestRunner`.
 * @param create is called once, before the tests; each of them has ids of its own.
 * @example
 * ```ts
 * describeResultStore({ describe, it, beforeAll, afterAll }, 'mine', async () => {
 *   const store = myStore({ client });
 *   return { store, cleanup: () => client.close() };
 * });
 * ```
 */
export function describeResultStore(
  runner: TestRunner,
  name: string,
  create: () => Promise<StoreUnderTest>,
): void {
  runner.describe(`ResultStore: ${name}`, () => {
    const subject = new StoreSubject(lifecycle(runner, create, ({ cleanup }) => cleanup()));
    claimTests(runner, subject);
    completeTests(runner, subject);
    renewTests(runner, subject);
    releaseTests(runner, subject);
    retentionTests(runner, subject);
    identityTests(runner, subject);
    actTests(runner, subject);
    listTests(runner, subject);
  });
}
