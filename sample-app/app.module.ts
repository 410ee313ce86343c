import { type DynamicModule, Module } from '@nestjs/common';
import { getDataSourceToken } from '@nestjs/typeorm';
import { IdempotencyModule } from 'nestjs-idempotent';
import { BackendsModule } from './backends/backends.module.js';
import { idempotencyOptions } from './backends/idempotency.setup.js';
import { RedisConnection } from './backends/redis.connection.js';
import { ShardConnections } from './backends/shard.connections.js';
import { BankModule } from './bank/bank.module.js';
import { Environment } from './config/environment.js';
import { EnvironmentModule } from './config/environment.module.js';
import { DatabaseModule } from './database/database.module.js';
import { LabModule } from './lab/page/lab.module.js';
import { OperationsModule } from './operations/operations.module.js';
import { OrdersModule } from './orders/orders.module.js';
import { OperatorModule } from './operator/operator.module.js';
import { RefundsModule } from './refunds/refunds.module.js';
import { StartController } from './start/start.controller.js';
import { WebModule } from './web/web.module.js';
import { WebhooksModule } from './webhooks/webhooks.module.js';

@Module({
  imports: [
    DatabaseModule,
    IdempotencyModule.forRootAsync({
      imports: [BackendsModule],
      inject: [Environment, getDataSourceToken(), RedisConnection, ShardConnections],
      useFactory: idempotencyOptions,
    }),
    OrdersModule,
    BankModule,
    OperationsModule,
    WebModule,
  ],
  controllers: [StartController],
})
export class AppModule {
  static of(environment: Environment): DynamicModule {
    return {
      module: AppModule,
      imports: [
        EnvironmentModule.of(environment),
        RefundsModule.of(environment),
        LabModule.of(environment),
        OperatorModule.of(environment),
        WebhooksModule.of(environment),
      ],
    };
  }
}
