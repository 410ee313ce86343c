export type { ShardedStoreOptions } from './options.js';
export type { Shards } from './placement.js';
export { ShardedStore, shardedStore } from './sharded-store.js';
