import { holds, neverPays, notApplicable, paysTwice, type Row } from './row.js';

const MARKED = holds('One sets the marker; the others find it and are told that they are duplicates.');
const DROPPED = neverPays(
  'The marker of the dead says that the order was refunded, though nobody has paid: the next attempt is dropped as a duplicate.',
);
const STILL_MARKED = holds('The marker is still there when the queue brings the message again.');
const MARKER_LOST = paysTwice('The marker was in memory only: the node knows of none, and both pay.');
const MARKER_NOT_REPLICATED = paysTwice(
  'Replication is asynchronous: the new master has not heard of the marker, and both pay.',
);
const UNREAD = holds(
  'The marker is there, so it is dropped unread: nobody notices that the amount is another one.',
);
const NO_DATABASE = notApplicable('It keeps nothing in a database.');
const NO_SHARDS = notApplicable(
  'The marker is not kept in the shards: it is the same wherever a request is sent.',
);

const MARKERS = {
  burst: MARKED,
  'crash-before-effect': DROPPED,
  'crash-after-effect': STILL_MARKED,
  'node-restart': MARKER_LOST,
  failover: MARKER_NOT_REPLICATED,
  'store-down': NO_DATABASE,
  sharded: NO_SHARDS,
} as const;

/** Those to whom a lock that is never given back says that the work is done. */
export const markerExpectations = {
  'lock-only': {
    ...MARKERS,
    'late-retry': paysTwice(
      'The marker is gone when the queue brings the message again, and so is all memory of the payout.',
    ),
    'slow-handler': paysTwice(
      'The marker runs out while the first is still at the bank: the duplicate pays as well.',
    ),
    pause: paysTwice(
      'The marker runs out while the first stands still: the duplicate pays, and then the first does.',
    ),
    'payload-change': paysTwice('The marker is gone, and nobody knows of a refund with another amount.'),
  },
  'lock-only-long-ttl': {
    ...MARKERS,
    'late-retry': holds(
      'The marker lives longer than the queue redelivers. As long as one knows how long that is.',
    ),
    'slow-handler': holds('The marker lives longer than the work takes.'),
    pause: holds('The marker lives longer than the first stands still.'),
    'payload-change': UNREAD,
  },
} satisfies Record<string, Row>;
