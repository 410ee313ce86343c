import { type LockDriver, LockNotAcquiredError, LockService } from 'nestjs-idempotent';
import type { Refund, Site } from '../scheme.js';

/**
 * Refunds while it holds the lock of the order, and remembers nothing.
 *
 * @param sendsFence whether the bank is told the number of the lock, and can turn away who comes late.
 */
export function lockedRefund(site: Site, driver: LockDriver, sendsFence = true): Refund {
  const locks = new LockService(driver);
  site.onClose(() => locks.close());
  return async (command) => {
    try {
      return await locks.using(command.orderId, { ttlMs: site.ttlMs }, async (lease) => {
        const { fence, signal } = lease;
        site.note(`has the lock, fence ${fence}`);
        signal.addEventListener('abort', () => site.note('is told that it has lost the lock'));
        lease.assertHeld();
        const isPaid = await site.bank.pay(command, sendsFence ? { fence } : {});
        return isPaid ? 'paid' : 'duplicate';
      });
    } catch (error) {
      if (error instanceof LockNotAcquiredError && error.status === 'busy') return 'in-progress';
      throw error;
    }
  };
}
