import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, Payload, RmqContext } from '@nestjs/microservices';
import { Idempotent } from 'nestjs-idempotent';
import { REFUND_REQUESTED } from './rabbitmq.queue.js';
import type { RefundCommand } from './refund.command.js';
import { RefundConsumer } from './refund.consumer.js';
import type { RefundView } from './refund.dto.js';

/** The payment service behind RabbitMQ. An error that is no refusal brings the command again later. */
@Controller()
export class RefundCommandsController {
  constructor(private readonly consumer: RefundConsumer) {}

  // Without its type this overload would not be taken, and the other one allows no context.
  // oxlint-disable-next-line typescript/no-unnecessary-type-arguments
  @EventPattern<string>(REFUND_REQUESTED)
  @Idempotent('{payload.refundId}')
  async refund(@Payload() command: RefundCommand, @Ctx() context: RmqContext): Promise<RefundView> {
    const refund = await this.consumer.work(command);
    context.getChannelRef().ack(context.getMessage());
    return refund;
  }
}
