import { describeStepStore, type StoreUnderTest } from '../../lib/testing/index.js';
import { afterAll, beforeAll, inLane, it } from './lanes.js';

/** The published suite, in a lane of its own. */
export function describeSteps(name: string, create: () => Promise<StoreUnderTest>): void {
  inLane(() => describeStepStore({ describe, it, beforeAll, afterAll }, name, create));
}
