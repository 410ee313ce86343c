import { describeResultStore, type StoreUnderTest } from '../../lib/testing/index.js';
import { afterAll, beforeAll, inLane, it } from './lanes.js';

export { found, hash, newAct, newRequest, retryOf } from '../../lib/testing/result-store/requests.js';
export type { StoreUnderTest };

/** The published suite, in a lane of its own. */
export function describeStore(name: string, create: () => Promise<StoreUnderTest>): void {
  inLane(() => describeResultStore({ describe, it, beforeAll, afterAll }, name, create));
}
