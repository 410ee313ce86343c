import { redisLock } from 'nestjs-idempotent/locks/redis';
import type { Scheme } from '../scheme.js';
import { lockedRefund } from './locked-refund.js';

export const atomicRedisLock: Scheme = {
  id: 'redis-lock',
  number: 4,
  kind: 'shipped',
  name: 'Redis lock, atomic',
  claim:
    'One command sets token and life; a script compares the token and deletes; it is renewed while the work lasts and has a number that grows.',
  needs: ['redis'],
  open: async (site) => lockedRefund(site, redisLock({ client: site.redis() })),
};
