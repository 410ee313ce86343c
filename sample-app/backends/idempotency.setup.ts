import {
  type IdempotencyModuleOptions,
  type LockDriver,
  memoryLock,
  memoryStore,
  type ResultStore,
} from 'nestjs-idempotent';
import { redisLock } from 'nestjs-idempotent/locks/redis';
import { redisStore } from 'nestjs-idempotent/stores/redis';
import { typeOrmStore } from 'nestjs-idempotent/stores/typeorm';
import type { DataSource } from 'typeorm';
import type { Environment } from '../config/environment.js';
import type { RedisConnection } from './redis.connection.js';

/** The options of the module, as the environment wants them. */
export function idempotencyOptions(
  environment: Environment,
  dataSource: DataSource,
  redis: RedisConnection,
): IdempotencyModuleOptions {
  return {
    // In a real app: who is signed in, for example ({ user }) => user?.id
    principal: ({ headers }) => headers?.['x-customer'] || 'public',
    lock: lockOf(environment, redis),
    store: storeOf(environment, dataSource, redis),
    leaseMs: environment.LEASE_MS,
    retentionMs: environment.RETENTION_MS,
    onConflict: environment.ON_CONFLICT,
  };
}

function lockOf({ LOCK }: Environment, redis: RedisConnection): LockDriver | undefined {
  switch (LOCK) {
    case 'none':
      return undefined;
    case 'memory':
      return memoryLock();
    case 'redis':
      return redisLock({ client: redis.client });
  }
}

function storeOf({ STORE }: Environment, dataSource: DataSource, redis: RedisConnection): ResultStore {
  switch (STORE) {
    case 'sql':
      return typeOrmStore({ dataSource });
    case 'redis':
      return redisStore({ client: redis.client });
    case 'memory':
      return memoryStore();
  }
}
