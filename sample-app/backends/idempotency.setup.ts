import {
  type IdempotencyModuleOptions,
  type LockDriver,
  memoryLock,
  memoryStore,
  type ResultStore,
} from 'nestjs-idempotent';
import { redisLock } from 'nestjs-idempotent/locks/redis';
import { zookeeperLock } from 'nestjs-idempotent/locks/zookeeper';
import { redisStore } from 'nestjs-idempotent/stores/redis';
import { shardedStore, typeOrmStore } from 'nestjs-idempotent/stores/typeorm';
import type { DataSource } from 'typeorm';
import type { Environment } from '../config/environment.js';
import type { RedisConnection } from './redis.connection.js';
import type { ShardConnections } from './shard.connections.js';

/** The options of the module, as the environment wants them. */
export async function idempotencyOptions(
  environment: Environment,
  dataSource: DataSource,
  redis: RedisConnection,
  shards: ShardConnections,
): Promise<IdempotencyModuleOptions> {
  return {
    // In a real app: who is signed in, for example ({ user }) => user?.id
    principal: ({ user, headers }) => user?.id ?? (headers?.['x-customer'] || 'public'),
    lock: lockOf(environment, redis),
    store: await storeOf(environment, dataSource, redis, shards),
    leaseMs: environment.LEASE_MS,
    retentionMs: environment.RETENTION_MS,
    onConflict: environment.ON_CONFLICT,
  };
}

function lockOf({ LOCK, ZOOKEEPER_URL }: Environment, redis: RedisConnection): LockDriver | undefined {
  switch (LOCK) {
    case 'none':
      return undefined;
    case 'memory':
      return memoryLock();
    case 'redis':
      return redisLock({ client: redis.client });
    case 'zookeeper':
      // The module ends its session at shutdown.
      return zookeeperLock({ connect: ZOOKEEPER_URL! });
  }
}

async function storeOf(
  { STORE }: Environment,
  dataSource: DataSource,
  redis: RedisConnection,
  shards: ShardConnections,
): Promise<ResultStore> {
  switch (STORE) {
    case 'sql':
      return typeOrmStore({ dataSource });
    case 'redis':
      return redisStore({ client: redis.client });
    case 'memory':
      return memoryStore();
    case 'sharded': {
      const dataSources = await shards.open();
      return shardedStore({ shards: dataSources.map((shard) => typeOrmStore({ dataSource: shard })) });
    }
  }
}
