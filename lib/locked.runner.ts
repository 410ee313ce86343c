import { Inject, Injectable } from '@nestjs/common';
import { isObservable, ReplaySubject } from 'rxjs';
import type { IdempotentCall } from './idempotency.call.js';
import { LockNotAcquiredError } from './idempotency.errors.js';
import type { LockedRoute } from './locked.route.js';
import { holding, isHeldAbove } from './locks/lock-lease.js';
import { LockService } from './locks/lock.service.js';

/** Runs methods under their locks. */
@Injectable()
export class LockedRunner {
  constructor(@Inject(LockService) private readonly locks: LockService) {}

  /**
   * @returns what the body returns. An Observable is passed on while the lock is held, and completes when it is
   * released.
   * @throws LockNotAcquiredError; what the body throws; IdempotencyError `lock-name-invalid`.
   */
  async run(route: LockedRoute, call: IdempotentCall, body: () => unknown): Promise<unknown> {
    const name = await route.nameOf(call);
    if (isHeldAbove(name)) {
      throw new LockNotAcquiredError(name, 'busy', {
        detail: 'It is held by the call that this one is part of, and would wait for itself.',
      });
    }
    const emitted = new ReplaySubject<unknown>();
    return new Promise((resolve, reject) => {
      const work = async () => {
        const value = await body();
        if (!isObservable(value)) return value;
        resolve(emitted);
        return value.forEach((item) => emitted.next(item));
      };
      this.locks
        .using(name, route.terms, (lease) => holding(lease, work))
        .then(
          (value) => {
            emitted.complete();
            resolve(value);
          },
          (error: Error) => {
            emitted.error(error);
            reject(error);
          },
        );
    });
  }
}
