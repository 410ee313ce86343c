import type { Scheme } from '../scheme.js';
import { uniqueIndex } from './01-unique-index.scheme.js';
import { selectThenInsert } from './02-select-then-insert.scheme.js';
import { redisLockNaive } from './03-redis-lock-naive.scheme.js';
import { atomicRedisLock } from './04-redis-lock.scheme.js';
import { lockOnly } from './05-lock-only.scheme.js';
import { lockOnlyLongTtl } from './06-lock-only-long-ttl.scheme.js';
import { lockInZooKeeper } from './07-zookeeper-lock.scheme.js';
import { lockInDatabase } from './08-sql-lock.scheme.js';
import { lockInDatabases } from './09-sql-quorum-lock.scheme.js';
import { redisReplica } from './10-redis-replica.scheme.js';
import { plainRedlock } from './11-redlock.scheme.js';
import { redlockDelayedRestart } from './12-redlock-delayed-restart.scheme.js';
import { lockAndStore } from './13-lock-and-store.scheme.js';
import { stateMachineOfOrders } from './14-state-machine.scheme.js';

/** The rows of the matrix, in order. */
export const schemes: readonly Scheme[] = [
  uniqueIndex,
  selectThenInsert,
  redisLockNaive,
  atomicRedisLock,
  lockOnly,
  lockOnlyLongTtl,
  lockInZooKeeper,
  lockInDatabase,
  lockInDatabases,
  redisReplica,
  plainRedlock,
  redlockDelayedRestart,
  lockAndStore,
  stateMachineOfOrders,
];
