import { type DynamicModule, Module } from '@nestjs/common';
import { Environment } from '../config/environment.js';
import { OrdersModule } from '../orders/orders.module.js';
import { PaymentEventsController } from './payment-events.controller.js';

/** Without a secret nothing of it is there: 404. */
@Module({})
export class WebhooksModule {
  static of({ WEBHOOK_SECRET }: Environment): DynamicModule {
    if (WEBHOOK_SECRET === undefined) return { module: WebhooksModule };
    return { module: WebhooksModule, imports: [OrdersModule], controllers: [PaymentEventsController] };
  }
}
