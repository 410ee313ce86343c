export { RedisLock, type RedisLockOptions, redisLock } from './redis-lock.js';
