export { RedisLock, type RedisLockOptions, redisLock } from './redis-lock.js';
export { type ExcludedNode, Redlock, type RedlockOptions, redlock } from './redlock.js';
export { ExcludedError, type RedlockClient } from './redlock-franchise.js';
