export { unprotected } from '../idempotency.managed.js';
export { describeLockDriver } from './lock-driver/suite.js';
export type { LockDriverUnderTest } from './lock-driver/subject.js';
export { describeResultStore } from './result-store/suite.js';
export { describeStepStore } from './result-store/steps.suite.js';
export type { StoreUnderTest } from './result-store/subject.js';
export type { TestRunner } from './test-runner.js';
