import { type DynamicModule, Module } from '@nestjs/common';
import { BankModule } from '../bank/bank.module.js';
import { Environment } from '../config/environment.js';
import { OrdersModule } from '../orders/orders.module.js';
import { InProcessQueue } from './in-process.queue.js';
import { RabbitMqQueue } from './rabbitmq.queue.js';
import { RefundCommandsController } from './refund-commands.controller.js';
import { RefundConsumer } from './refund.consumer.js';
import { RefundQueue } from './refund.queue.js';
import { RefundRequestsController } from './refund-requests.controller.js';
import { RefundRequestsService } from './refund-requests.service.js';
import { refundsController } from './refunds.controller.js';
import { RefundsService } from './refunds.service.js';

const REFUND_SERVICE = {
  controllers: [RefundRequestsController],
  providers: [RefundRequestsService],
};
const PAYMENT_SERVICE = { controllers: [RefundCommandsController], providers: [RefundConsumer] };

const SERVICES = {
  all: [REFUND_SERVICE, PAYMENT_SERVICE],
  refund: [REFUND_SERVICE],
  payment: [PAYMENT_SERVICE],
};

@Module({})
export class RefundsModule {
  static of({ ROLE, isTransactional }: Environment): DynamicModule {
    const direct = ROLE === 'payment' ? [] : [refundsController(isTransactional)];
    const queue = {
      provide: RefundQueue,
      inject: [Environment],
      useFactory: ({ AMQP_URL }: Environment) =>
        AMQP_URL === undefined ? new InProcessQueue() : new RabbitMqQueue(AMQP_URL),
    };
    return {
      module: RefundsModule,
      imports: [BankModule, OrdersModule],
      controllers: [...direct, ...SERVICES[ROLE].flatMap(({ controllers }) => controllers as never[])],
      providers: [RefundsService, queue, ...SERVICES[ROLE].flatMap(({ providers }) => providers as never[])],
    };
  }
}
