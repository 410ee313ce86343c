import type { Scheme } from '../scheme.js';
import { markerRefund } from './marker-refund.js';

/** Never to be copied. */
export const lockOnly: Scheme = {
  id: 'lock-only',
  number: 5,
  kind: 'exhibit',
  name: 'Lock only',
  claim: 'SET NX with a life, and leave it there: while the key exists, the order has been refunded.',
  needs: ['redis'],
  open: async (site) => markerRefund(site, site.ttlMs),
};
