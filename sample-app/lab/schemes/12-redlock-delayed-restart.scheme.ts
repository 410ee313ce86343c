import { redlock } from 'nestjs-idempotent/locks/redis';
import type { Scheme } from '../scheme.js';
import { lockedRefund, quorumTerms } from './locked-refund.js';

export const redlockDelayedRestart: Scheme = {
  id: 'redlock-delayed-restart',
  number: 12,
  kind: 'shipped',
  name: 'Redlock with delayed restart',
  claim:
    'A node that was restarted has no vote until all it may have forgotten has run out; by itself, and by default.',
  needs: ['redis-nodes'],
  async open(site) {
    const { nodeTimeoutMs, waitMs } = quorumTerms(site);
    const driver = redlock({ clients: site.redisNodes(), nodeTimeoutMs, maxTtlMs: site.ttlMs });
    return lockedRefund(site, driver, { waitMs });
  },
};
