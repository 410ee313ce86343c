import type { Scheme } from '../scheme.js';
import { idempotentRefund } from './idempotent-refund.js';

export const uniqueIndex: Scheme = {
  id: 'unique-index',
  number: 1,
  kind: 'shipped',
  name: 'Unique index',
  claim:
    'Insert a row with a unique key first: of all who try, the database lets one through, and the row keeps the answer.',
  needs: ['database'],
  open: (site) => idempotentRefund(site),
};
