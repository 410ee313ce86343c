import { describeStepStore, type StoreUnderTest } from '../../lib/testing/index.js';

/** The published suite, run by Jest. */
export function describeSteps(name: string, create: () => Promise<StoreUnderTest>): void {
  describeStepStore({ describe, it, beforeAll, afterAll }, name, create);
}
