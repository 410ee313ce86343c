import { holds, notApplicable, paysTwice, type Row } from './row.js';

const NO_EMPTY_DATABASE = notApplicable(
  'A database keeps what it has committed on disk: it does not come back empty. See the database that dies and comes back.',
);
const NO_REPLICA = notApplicable('It asks one database, without replicas.');

const IN_PROGRESS_IN_TABLE =
  'The first one has its row in the table; the others meet it and hear that somebody is at it.';
const REPLAYED = 'The answer is in the table for a day. Whoever comes later gets it, and nothing is done.';
const RENEWED = 'The claim is renewed while the work goes on, so the duplicate hears that somebody is at it.';
const LATE_IS_ROLLED_BACK =
  'The duplicate takes the key over when the claim has run out, and pays. When the first wakes up, its payout and its record are one transaction, and the record is not its own any more: both are rolled back.';
const TAKEN_OVER = 'Nothing was paid. The claim of the dead runs out, and the next attempt pays.';
const ONE_TRANSACTION =
  'The payout and the record of it are one transaction, which the dead has not committed: nothing was paid. The next attempt pays.';
const WHOLE_OR_NOTHING =
  'The transaction of the first died with the database, and its payout with it. Whoever comes after that finds the claim run out, and pays.';
const FINGERPRINT = 'The amount belongs to the key: the same key with another amount is refused.';
const ROUTED_BY_KEY =
  'The table of results is split by the key itself, wherever the business rows are: all duplicates meet the same index.';

/** Those whose memory is a row. */
export const databaseExpectations = {
  'unique-index': {
    burst: holds(IN_PROGRESS_IN_TABLE),
    'late-retry': holds(REPLAYED),
    'slow-handler': holds(RENEWED),
    pause: holds(LATE_IS_ROLLED_BACK),
    'crash-before-effect': holds(TAKEN_OVER),
    'crash-after-effect': holds(ONE_TRANSACTION),
    'node-restart': NO_EMPTY_DATABASE,
    failover: NO_REPLICA,
    'store-down': holds(WHOLE_OR_NOTHING),
    sharded: holds(ROUTED_BY_KEY),
    'payload-change': holds(FINGERPRINT),
  },
  'select-then-insert': {
    burst: paysTwice(
      'All of them look before any of them has inserted: nobody finds a row, and everybody pays.',
    ),
    'late-retry': holds('The row of the first is there when the late one looks.'),
    'slow-handler': paysTwice(
      'The row comes after the payout; the duplicate looks before that and finds nothing.',
    ),
    pause: paysTwice(
      'While the first stands still there is no row; the duplicate pays, and then the first does.',
    ),
    'crash-before-effect': holds('Nothing was paid and no row is there, so the next attempt pays.'),
    'crash-after-effect': paysTwice(
      'It died between the payout and the row; the next attempt finds no row and pays.',
    ),
    'node-restart': NO_EMPTY_DATABASE,
    failover: NO_REPLICA,
    'store-down': paysTwice(
      'The first has looked and goes on when the database is back; a duplicate looks before that.',
    ),
    sharded: paysTwice('Each shard has a table of its own: in the other one there is no row.'),
    'payload-change': holds('There is a row for the order. That the amount is another one nobody notices.'),
  },
  'lock-and-store': {
    burst: holds('One gets the lock, the others hear that somebody is at it.'),
    'late-retry': holds(`The lock is long gone, and it does not matter. ${REPLAYED}`),
    'slow-handler': holds('Lock and claim are renewed while the work goes on.'),
    pause: holds(LATE_IS_ROLLED_BACK),
    'crash-before-effect': holds(`The lock runs out. ${TAKEN_OVER}`),
    'crash-after-effect': holds(ONE_TRANSACTION),
    'node-restart': holds(
      'The lock is lost, but the claim in the table is not: the duplicate hears that somebody is at it.',
    ),
    failover: holds(
      'The new master knows of no lock, but the table knows of the claim: the duplicate is told so.',
    ),
    'store-down': holds(WHOLE_OR_NOTHING),
    sharded: holds(ROUTED_BY_KEY),
    'payload-change': holds(FINGERPRINT),
  },
  'state-machine': {
    burst: holds(
      'One moves the order and has its row locked until it has paid; the others do not get the row.',
    ),
    'late-retry': holds('The order is REFUNDED already; from there no way leads to another payout.'),
    'slow-handler': holds(
      'The row of the order stays locked until the payout is committed; the duplicate does not get it.',
    ),
    pause: holds(
      'The transaction of the one that stands still stays open, and the row locked. Nobody else gets it.',
    ),
    'crash-before-effect': holds(
      'The order is REFUNDING, a recovery point: the next attempt goes on from there and pays.',
    ),
    'crash-after-effect': holds(
      'The payout and the move to REFUNDED are one transaction, which the dead has not committed. The next attempt goes on from REFUNDING.',
    ),
    'node-restart': NO_EMPTY_DATABASE,
    failover: NO_REPLICA,
    'store-down': holds(
      'The transaction died with the database: no payout, order still REFUNDING. The next attempt goes on.',
    ),
    sharded: notApplicable(
      'An order is one row in one shard. Whoever looks in another finds no order to refund.',
    ),
    'payload-change': holds('The order was paid with another amount: refused.'),
  },
} satisfies Record<string, Row>;
