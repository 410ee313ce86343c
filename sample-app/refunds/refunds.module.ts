import { Module } from '@nestjs/common';
import { BankModule } from '../bank/bank.module.js';
import { OrdersModule } from '../orders/orders.module.js';
import { RefundConsumer } from './refund.consumer.js';
import { RefundQueue } from './refund.queue.js';
import { RefundRequestsController } from './refund-requests.controller.js';
import { RefundRequestsService } from './refund-requests.service.js';
import { RefundsController } from './refunds.controller.js';
import { RefundsService } from './refunds.service.js';

@Module({
  imports: [BankModule, OrdersModule],
  controllers: [RefundsController, RefundRequestsController],
  providers: [RefundsService, RefundRequestsService, RefundQueue, RefundConsumer],
})
export class RefundsModule {}
