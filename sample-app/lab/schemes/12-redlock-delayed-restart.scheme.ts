import { redlock } from 'nestjs-idempotent/locks/redis';
import type { Scheme } from '../scheme.js';
import { lockedRefund } from './locked-refund.js';

export const redlockDelayedRestart: Scheme = {
  id: 'redlock-delayed-restart',
  number: 12,
  kind: 'shipped',
  name: 'Redlock with delayed restart',
  claim:
    'A node that was restarted has no vote until all it may have forgotten has run out; by itself, and by default.',
  needs: ['redis-nodes'],
  open: async (site) => lockedRefund(site, redlock({ clients: site.redisNodes(), maxTtlMs: site.ttlMs })),
};
