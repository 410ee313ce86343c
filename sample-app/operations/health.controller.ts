import { Controller, Get } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import {
  HealthCheck,
  type HealthCheckResult,
  HealthCheckService,
  TypeOrmHealthIndicator,
} from '@nestjs/terminus';
import { ShardConnections } from '../backends/shard.connections.js';
import { RedisHealthIndicator } from './redis.health.js';

@ApiTags('operations')
@Controller('health')
export class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly database: TypeOrmHealthIndicator,
    private readonly redis: RedisHealthIndicator,
    private readonly shards: ShardConnections,
  ) {}

  @Get()
  @ApiOperation({ summary: 'Whether what the app stands on answers' })
  @HealthCheck()
  check(): Promise<HealthCheckResult> {
    const database = () => this.database.pingCheck('database', { timeout: 1_000 });
    const shards = this.shards.others.map(
      (connection, i) => () => this.database.pingCheck(`shard ${i + 1}`, { connection, timeout: 1_000 }),
    );
    const redis = this.redis.isUsed ? [() => this.redis.check('redis')] : [];
    return this.health.check([database, ...shards, ...redis]);
  }
}
