import { Module } from '@nestjs/common';
import { RedisConnection } from './redis.connection.js';
import { ShardConnections } from './shard.connections.js';

@Module({
  providers: [RedisConnection, ShardConnections],
  exports: [RedisConnection, ShardConnections],
})
export class BackendsModule {}
