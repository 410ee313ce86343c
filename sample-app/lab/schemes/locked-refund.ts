import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type LockDriver, LockNotAcquiredError, LockService } from 'nestjs-idempotent';
import type { Refund, Site } from '../scheme.js';

interface LockedRefundOptions {
  /** Whether the bank is told the number of the lock, and can turn away who comes late. @default true */
  readonly sendsFence?: boolean;
  /** How long it waits for the lock, in milliseconds. @default 0 */
  readonly waitMs?: number;
}

/** Refunds while it holds the lock of the order, and remembers nothing. */
export async function lockedRefund(
  site: Site,
  driver: LockDriver,
  { sendsFence = true, waitMs = 0 }: LockedRefundOptions = {},
): Promise<Refund> {
  const { ttlMs } = site;
  const locks = new LockService(driver);
  site.onClose(() => locks.close());
  await firstLock(locks, `${site.prefix}:${randomUUID()}`, ttlMs);
  return async (command) => {
    try {
      return await locks.using(command.orderId, { ttlMs, waitMs }, async (lease) => {
        const { fence, signal } = lease;
        site.note(`has the lock, fence ${fence}`);
        signal.addEventListener('abort', () => site.note('is told that it has lost the lock'));
        lease.assertHeld();
        const isPaid = await site.bank.pay(command, sendsFence ? { fence } : {});
        return isPaid ? 'paid' : 'duplicate';
      });
    } catch (error) {
      if (error instanceof LockNotAcquiredError && error.status !== 'unavailable') return 'in-progress';
      throw error;
    }
  };
}

/** Connects to all servers before the first order comes, and not while it waits. */
async function firstLock(locks: LockService, name: string, ttlMs: number): Promise<void> {
  for (;;) {
    const result = await locks.acquire(name, { ttlMs });
    if (result.status === 'acquired') return void (await result.lease.release());
    await sleep(50);
  }
}

/** For locks on a majority of several nodes. */
export function quorumTerms({ ttlMs }: Site) {
  return {
    /** Far below the life of a lock, and enough for a busy machine. */
    nodeTimeoutMs: Math.round(ttlMs / 5),
    /** When several ask at the same time, none may get a majority: then they ask once more. */
    waitMs: Math.round(ttlMs / 4),
  };
}
