import { type AcquireAnswer, LockDriver } from './lock-driver.js';

/** Stands in where the module has no `lock`: `LockService` can be injected, and says what is missing when used. */
export class NoLock extends LockDriver {
  readonly name = 'none';

  acquire(): Promise<AcquireAnswer> {
    return Promise.reject(
      new Error('IdempotencyModule has no `lock`; add one, for example lock: redisLock({ client })'),
    );
  }

  async extend(): Promise<boolean[]> {
    return [];
  }

  async release(): Promise<boolean> {
    return false;
  }
}
