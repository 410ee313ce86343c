import { sqlQuorumLock } from 'nestjs-idempotent/locks/sql';
import type { Scheme } from '../scheme.js';
import { lockedRefund } from './locked-refund.js';

export const lockInDatabases: Scheme = {
  id: 'sql-quorum-lock',
  number: 9,
  kind: 'shipped',
  name: 'Lock over several databases',
  claim: 'A row in each of three databases; who has more than half of them has the lock.',
  needs: ['databases'],
  open: async (site) => lockedRefund(site, sqlQuorumLock({ dataSources: await site.databases() })),
};
