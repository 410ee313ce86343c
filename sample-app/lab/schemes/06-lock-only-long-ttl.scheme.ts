import type { Scheme } from '../scheme.js';
import { markerRefund } from './marker-refund.js';

/** Never to be copied. */
export const lockOnlyLongTtl: Scheme = {
  id: 'lock-only-long-ttl',
  number: 6,
  kind: 'exhibit',
  name: 'Lock only, with a long life',
  claim: 'The same, with a life that is longer than the queue can go on redelivering.',
  needs: ['redis'],
  open: async (site) => markerRefund(site, 10 * site.ttlMs),
};
