import { randomUUID } from 'node:crypto';
import type { Scheme } from '../scheme.js';

const RELEASE = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`;

/** Never to be copied. */
export const redisReplica: Scheme = {
  id: 'redis-replica',
  number: 10,
  kind: 'exhibit',
  name: 'Redis master and replica',
  claim: 'A lock with a token on the master, which a replica takes over from when it dies.',
  needs: ['redis'],
  async open(site) {
    const redis = site.redis();
    return async (command) => {
      const key = command.orderId;
      const token = randomUUID();
      if (!(await redis.set(key, token, 'PX', site.ttlMs, 'NX'))) return 'in-progress';
      site.note('has the lock, on the master');
      try {
        await site.bank.pay(command);
        return 'paid';
      } finally {
        const isReleased = await redis.eval(RELEASE, 1, key, token);
        site.note(isReleased ? 'releases the lock' : 'finds its lock gone when it releases it');
      }
    };
  },
};
