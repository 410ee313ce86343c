import { sqlQuorumLock } from 'nestjs-idempotent/locks/sql';
import type { Scheme } from '../scheme.js';
import { lockedRefund, quorumTerms } from './locked-refund.js';

export const lockInDatabases: Scheme = {
  id: 'sql-quorum-lock',
  number: 9,
  kind: 'shipped',
  name: 'Lock over several databases',
  claim: 'A row in each of three databases; who has more than half of them has the lock.',
  needs: ['databases'],
  async open(site) {
    const { nodeTimeoutMs, waitMs } = quorumTerms(site);
    const driver = sqlQuorumLock({ dataSources: await site.databases(), nodeTimeoutMs });
    return lockedRefund(site, driver, { waitMs });
  },
};
