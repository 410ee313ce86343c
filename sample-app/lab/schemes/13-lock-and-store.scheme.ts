import { redisLock } from 'nestjs-idempotent/locks/redis';
import type { Scheme } from '../scheme.js';
import { idempotentRefund } from './idempotent-refund.js';

export const lockAndStore: Scheme = {
  id: 'lock-and-store',
  number: 13,
  kind: 'shipped',
  name: 'Lock and persisted result',
  claim:
    'Take the lock, look into the result table, run, store the result in the same transaction, release by token.',
  needs: ['redis', 'database'],
  open: (site) => idempotentRefund(site, redisLock({ client: site.redis() })),
};
