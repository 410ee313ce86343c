import { holds, neverPays, notApplicable, paysTwice, type Row } from './row.js';

const FORGETS = paysTwice(
  'The lock was given back when the first was done, and nothing else is remembered: the late one gets the lock and pays again.',
);
const FORGETS_AFTER_CRASH = paysTwice(
  'The money is gone, the lock runs out, and nobody has written down that it was paid: the next attempt pays again.',
);
const FORGETS_AMOUNT = paysTwice(
  'The lock is free again; nothing is left of the first that the amount could differ from.',
);
const ONE_AT_A_TIME = holds('One has the lock; the others hear so and give up.');
const FREED = holds(
  'Nothing was paid. The lock of the dead runs out, and the next attempt gets it and pays.',
);
const RENEWED = holds('The lock is renewed while the work goes on, so the duplicate does not get it.');
const FENCED =
  'The lock has a number that grows with every holder. When the first comes to the bank at last, the bank has seen a higher one and turns it away.';
const FENCED_PAUSE = holds(
  `While it stands still its lock runs out, and the duplicate gets it and pays. ${FENCED}`,
);
const EXPIRED_UNDER_WORK = paysTwice(
  'The lock runs out while the first is still at the bank, so the duplicate gets it and pays as well.',
);
const EXPIRED_IN_PAUSE = paysTwice(
  'While the first stands still its lock runs out, the duplicate gets it and pays. The first knows of nothing and pays, too.',
);
const LOST_WITH_NODE = paysTwice(
  'The lock was in memory only: the node knows of none, gives it again, and both pay.',
);
const LOST_WITH_MASTER = paysTwice(
  'Replication is asynchronous: the new master has not heard of the lock, gives it again, and both pay.',
);
const NO_SHARDS = notApplicable(
  'The lock is not kept in the shards: it is the same wherever a request is sent.',
);
const NO_DATABASE = notApplicable('It keeps nothing in a database.');
const NO_EMPTY_DATABASE = notApplicable(
  'A database keeps what it has committed on disk: it does not come back empty.',
);
const NO_REPLICA = notApplicable(
  'Its databases have no replicas. See the database that dies and comes back.',
);

/** What all of those of the library have in common: they exclude, and they forget. */
const SHIPPED = {
  burst: ONE_AT_A_TIME,
  'late-retry': FORGETS,
  'slow-handler': RENEWED,
  pause: FENCED_PAUSE,
  'crash-before-effect': FREED,
  'crash-after-effect': FORGETS_AFTER_CRASH,
  'store-down': NO_DATABASE,
  sharded: NO_SHARDS,
  'payload-change': FORGETS_AMOUNT,
} as const;

const IN_DATABASES = { ...SHIPPED, 'node-restart': NO_EMPTY_DATABASE, failover: NO_REPLICA } as const;

const MAJORITY_LIVES = holds(
  'Two of five nodes die. The lock is on the other three, too: nobody else gets a majority.',
);

/** Those who hold a lock while they pay, and give it back. */
export const lockExpectations = {
  'redis-lock-naive': {
    burst: ONE_AT_A_TIME,
    'late-retry': FORGETS,
    'slow-handler': EXPIRED_UNDER_WORK,
    pause: EXPIRED_IN_PAUSE,
    'crash-before-effect': neverPays(
      'It died between SETNX and EXPIRE: the lock has no end, and nobody is ever let in again. The customer waits for ever.',
    ),
    'crash-after-effect': FORGETS_AFTER_CRASH,
    'node-restart': LOST_WITH_NODE,
    failover: LOST_WITH_MASTER,
    'store-down': NO_DATABASE,
    sharded: NO_SHARDS,
    'payload-change': FORGETS_AMOUNT,
    'same-timestamp': paysTwice(
      'Two locks that were taken in the same second look alike, so the first deletes the lock of the second, and a third walks in.',
    ),
    'get-del-gap': paysTwice(
      'Between GET and DEL the lock ran out and became that of the second; the first deletes it, and a third walks in.',
    ),
  },
  'redis-lock': {
    ...SHIPPED,
    'node-restart': holds(`The node knows of no lock and gives it to the duplicate, which pays. ${FENCED}`),
    failover: holds(
      `The new master has not heard of the lock and gives it to the duplicate, which pays. ${FENCED}`,
    ),
  },
  'zookeeper-lock': {
    ...SHIPPED,
    'node-restart': holds('Two of three servers still know of the lock, and the third learns it from them.'),
    failover: holds(
      'A lock is on a majority of the servers before anybody has it; the new leader is one of those.',
    ),
  },
  'sql-lock': {
    ...IN_DATABASES,
    'store-down': holds(
      `The first cannot renew its lock while the database is away, so when it is back the duplicate gets it and pays. ${FENCED}`,
    ),
  },
  'sql-quorum-lock': {
    ...IN_DATABASES,
    'store-down': holds(
      'The lock is in two of three databases still, which is more than half: nobody else gets it.',
    ),
  },
  'redis-replica': {
    burst: ONE_AT_A_TIME,
    'late-retry': FORGETS,
    'slow-handler': EXPIRED_UNDER_WORK,
    pause: EXPIRED_IN_PAUSE,
    'crash-before-effect': FREED,
    'crash-after-effect': FORGETS_AFTER_CRASH,
    'node-restart': LOST_WITH_NODE,
    failover: LOST_WITH_MASTER,
    'store-down': NO_DATABASE,
    sharded: NO_SHARDS,
    'payload-change': FORGETS_AMOUNT,
  },
  redlock: {
    ...SHIPPED,
    pause: EXPIRED_IN_PAUSE,
    'node-restart': paysTwice(
      'Nodes 1, 2 and 3 gave the lock and 3 has forgotten it: with 3, 4 and 5 the duplicate has a majority, too.',
    ),
    failover: MAJORITY_LIVES,
  },
  'redlock-delayed-restart': {
    ...SHIPPED,
    'node-restart': holds(
      'Node 3 has forgotten the lock, and therefore has no vote until that lock would have run out: 4 and 5 are no majority.',
    ),
    failover: MAJORITY_LIVES,
  },
} satisfies Record<string, Row>;
