import { describeResultStore, type StoreUnderTest } from '../../lib/testing/index.js';

export { found, hash, newAct, newRequest, retryOf } from '../../lib/testing/result-store/requests.js';
export type { StoreUnderTest };

/** The published suite, run by Jest. */
export function describeStore(name: string, create: () => Promise<StoreUnderTest>): void {
  describeResultStore({ describe, it, beforeAll, afterAll }, name, create);
}
