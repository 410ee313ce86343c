import { Module } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { BackendsModule } from '../backends/backends.module.js';
import { HealthController } from './health.controller.js';
import { MetricsController } from './metrics.controller.js';
import { RedisHealthIndicator } from './redis.health.js';

@Module({
  imports: [TerminusModule, BackendsModule],
  controllers: [HealthController, MetricsController],
  providers: [RedisHealthIndicator],
})
export class OperationsModule {}
