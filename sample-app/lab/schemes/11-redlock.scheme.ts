import { redlock } from 'nestjs-idempotent/locks/redis';
import type { Scheme } from '../scheme.js';
import { lockedRefund, quorumTerms } from './locked-refund.js';

/** As it was published: restarted nodes vote at once, and the bank is sent no number. */
export const plainRedlock: Scheme = {
  id: 'redlock',
  number: 11,
  kind: 'shipped',
  name: 'Redlock',
  claim: 'Five Redis nodes that know nothing of each other; who has three of them in time has the lock.',
  needs: ['redis-nodes'],
  async open(site) {
    const { nodeTimeoutMs, waitMs } = quorumTerms(site);
    const driver = redlock({ clients: site.redisNodes(), nodeTimeoutMs, delayedRestart: false });
    return lockedRefund(site, driver, { waitMs, sendsFence: false });
  },
};
