import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { Database } from '../database/database.js';
import { OrdersService } from '../orders/orders.service.js';
import { Problem } from '../problem.js';
import type { RefundCommand } from './refund.command.js';
import { Refund } from './refund.entity.js';
import { RefundQueue } from './refund.queue.js';

/** The refund service: accepts requests and sends them to the payment service. */
@Injectable()
export class RefundRequestsService implements OnApplicationBootstrap {
  constructor(
    private readonly database: Database,
    private readonly orders: OrdersService,
    private readonly queue: RefundQueue,
  ) {}

  /** What was accepted and is not finished is sent again. If another process is at it, the consumer finds out. */
  async onApplicationBootstrap(): Promise<void> {
    const unfinished = await this.database.read((manager) =>
      manager.findBy(Refund, [
        { channel: 'queue', status: 'REQUESTED' },
        { channel: 'queue', status: 'REFUNDING' },
      ]),
    );
    for (const { refundId, orderId, amount, channel } of unfinished) {
      await this.queue.publish({ refundId, orderId, amount, channel });
    }
  }

  /**
   * Written down first, so that it is not forgotten when the process ends, then sent.
   *
   * @throws Problem `order-unknown`, `illegal-transition`.
   */
  async accept(command: RefundCommand): Promise<RefundCommand> {
    const { refundId, orderId, amount } = command;
    const refund = await this.database.transaction(async (manager) => {
      const request: Refund = { ...command, status: 'REQUESTED', reason: null };
      await manager.createQueryBuilder().insert().into(Refund).values(request).orIgnore().execute();
      await this.orders.find(manager, orderId);
      return manager.findOneByOrFail(Refund, { refundId });
    });
    // The same key after its record has expired, with another amount.
    if (refund.amount !== amount) {
      throw new Problem(
        'illegal-transition',
        `This refund was requested with ${refund.amount} cents, not with ${amount}.`,
      );
    }
    await this.queue.publish(command);
    return command;
  }
}
