export { RedisStore, type RedisStoreOptions, redisStore } from './redis-store.js';
