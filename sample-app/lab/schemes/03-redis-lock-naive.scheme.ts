import type { Scheme } from '../scheme.js';

/** Never to be copied. */
export const redisLockNaive: Scheme = {
  id: 'redis-lock-naive',
  number: 3,
  kind: 'exhibit',
  name: 'Redis lock, naive',
  claim: 'SETNX the key with the time as its value, then EXPIRE it; to release, GET, compare the time, DEL.',
  needs: ['redis'],
  async open(site) {
    const redis = site.redis();
    return async (command) => {
      const key = command.orderId;
      const timestamp = String(Math.floor(Date.now() / 1_000));
      if (!(await redis.setnx(key, timestamp))) return 'in-progress';
      site.note(`SETNX ${timestamp}: has the lock, for ever so far`);
      await site.point('half-claimed');
      await redis.pexpire(key, site.ttlMs);
      await site.bank.pay(command);
      if ((await redis.get(key)) === timestamp) {
        await site.point('about-to-release');
        await redis.del(key);
        site.note('DEL: whoever had the lock has it no more');
      }
      return 'paid';
    };
  },
};
