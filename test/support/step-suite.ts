import { describeStepStore, type StoreUnderTest } from '../../lib/testing/index.js';
import { lane } from './lanes.js';

/** The published suite, in a lane of its own. */
export function describeSteps(name: string, create: () => Promise<StoreUnderTest>): void {
  lane((runner) => describeStepStore(runner, name, create));
}
