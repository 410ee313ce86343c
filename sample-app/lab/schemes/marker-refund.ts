import type { Refund, Site } from '../scheme.js';

/**
 * The lock is never released after success: that it is there says that the order was refunded. Never to be copied.
 *
 * @param lifeMs how long that is remembered.
 */
export function markerRefund(site: Site, lifeMs: number): Refund {
  const redis = site.redis();
  return async (command) => {
    const key = command.orderId;
    if (!(await redis.set(key, 'refunded', 'PX', lifeMs, 'NX'))) return 'duplicate';
    site.note(`has set the marker, for ${lifeMs} ms`);
    try {
      await site.bank.pay(command);
    } catch (error) {
      await redis.del(key);
      throw error;
    }
    return 'paid';
  };
}
