import { Injectable } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import { Database } from '../database/database.js';
import { Problem } from '../problem.js';
import { Order } from './order.entity.js';
import { isOrderId } from './order-id.js';

@Injectable()
export class OrdersService {
  constructor(private readonly database: Database) {}

  /** @throws Problem `order-exists`. */
  async create(orderId: string, amount: number): Promise<Order> {
    const order: Order = { orderId, amount, status: 'PAID', refundId: null };
    try {
      await this.database.transaction((manager) => manager.insert(Order, order));
      return order;
    } catch (error) {
      // Whatever a database says when a primary key is taken.
      const taken = await this.database.read((manager) => manager.existsBy(Order, { orderId }));
      throw taken ? new Problem('order-exists', `Order ${orderId} exists already.`) : error;
    }
  }

  /** @throws Problem `order-unknown`. */
  get(orderId: string): Promise<Order> {
    return this.database.read((manager) => this.find(manager, orderId));
  }

  /** PAID -> REFUNDING, by compare-and-set. @returns false when the order was not PAID, or not with that much. */
  async startRefund(
    manager: EntityManager,
    orderId: string,
    amount: number,
    refundId: string,
  ): Promise<boolean> {
    const { affected } = await manager
      .createQueryBuilder()
      .update(Order)
      .set({ status: 'REFUNDING', refundId })
      .where(`order_id = :orderId AND status = 'PAID' AND amount >= :amount`, { orderId, amount })
      .execute();
    return affected === 1;
  }

  /** REFUNDING -> REFUNDED, by compare-and-set. @returns false when this refund has nothing to finish. */
  async finishRefund(manager: EntityManager, orderId: string, refundId: string): Promise<boolean> {
    const { affected } = await manager.update(
      Order,
      { orderId, refundId, status: 'REFUNDING' },
      { status: 'REFUNDED' },
    );
    return affected === 1;
  }

  /** @throws Problem `order-unknown`. */
  async find(manager: EntityManager, orderId: string): Promise<Order> {
    const order = isOrderId(orderId) && (await manager.findOneBy(Order, { orderId }));
    if (!order) throw new Problem('order-unknown', `There is no order ${orderId}.`);
    return order;
  }
}
