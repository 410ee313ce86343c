import { Injectable } from '@nestjs/common';
import { IllegalTransitionError, TransitionError } from 'nestjs-idempotent/stores/typeorm';
import type { EntityManager } from 'typeorm';
import { Database } from '../database/database.js';
import { Problem } from '../problem.js';
import { Order } from './order.entity.js';
import { isOrderId } from './order-id.js';
import { orderStates } from './order.states.js';

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

  /**
   * As `create`, for those who may ask twice: the order they have made is what they wanted.
   *
   * @throws Problem `order-exists` when the order of this id has another amount.
   */
  async createOnce(orderId: string, amount: number): Promise<Order> {
    try {
      return await this.create(orderId, amount);
    } catch (error) {
      const order = error instanceof Problem && (await this.get(orderId));
      if (order && order.amount === amount) return order;
      throw error;
    }
  }

  /** @throws Problem `order-unknown`. */
  get(orderId: string): Promise<Order> {
    return this.database.read((manager) => this.find(manager, orderId));
  }

  /**
   * PAID -> REFUNDING, for one refund.
   *
   * @returns false when this refund has done so before.
   * @throws IllegalTransitionError when another refund has the order.
   * @throws Problem `order-unknown`, `amount-exceeds-order`.
   */
  async startRefund(
    manager: EntityManager,
    orderId: string,
    amount: number,
    refundId: string,
  ): Promise<boolean> {
    const refusal = await orderStates.transition(manager, Order, orderId, 'REFUNDING', { refundId }).then(
      ({ changed }) => (changed ? null : othersRefund(orderId)),
      (error: unknown) => {
        if (error instanceof TransitionError) return error;
        throw error;
      },
    );
    const order = await this.find(manager, orderId);
    if (refusal) {
      if (refusal instanceof IllegalTransitionError && order.refundId === refundId) return false;
      throw refusal;
    }
    if (amount <= order.amount) return true;
    throw new Problem(
      'amount-exceeds-order',
      `Order ${orderId} was paid with ${order.amount} cents, not with ${amount}.`,
    );
  }

  /** REFUNDING -> REFUNDED, by the refund that has the order. @returns false when that was done before. */
  async finishRefund(manager: EntityManager, orderId: string): Promise<boolean> {
    const { changed } = await orderStates.transition(manager, Order, orderId, 'REFUNDED');
    return changed;
  }

  /** @throws Problem `order-unknown`. */
  async find(manager: EntityManager, orderId: string): Promise<Order> {
    const order = isOrderId(orderId) && (await manager.findOneBy(Order, { orderId }));
    if (!order) throw new Problem('order-unknown', `There is no order ${orderId}.`);
    return order;
  }
}

/** There already, but who has brought it there? */
function othersRefund(orderId: string): IllegalTransitionError {
  const allowed = orderStates.allowedFrom('REFUNDING');
  return new IllegalTransitionError(`Order ${orderId}`, 'REFUNDING', 'REFUNDING', allowed);
}
