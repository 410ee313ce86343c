import { Injectable } from '@nestjs/common';
import { IdempotencyContext } from 'nestjs-idempotent';
import type { EntityManager } from 'typeorm';
import { Bank } from '../bank/bank.js';
import { Database } from '../database/database.js';
import { OrdersService } from '../orders/orders.service.js';
import { Problem } from '../problem.js';
import type { RefundCommand } from './refund.command.js';
import { Refund } from './refund.entity.js';

/**
 * Gives the money of an order back: PAID -> REFUNDING -> REFUNDED.
 *
 * `@Idempotent` keeps duplicates away from here. What comes twice all the same is a call whose process died, or
 * was taken for dead, before its answer was recorded. It carries the same refund id, so it goes on where the
 * first stopped: an order that this very refund has moved on is moved on no further, and the answer is what
 * the first would have answered. Any other refund of that order is an illegal transition.
 */
@Injectable()
export class RefundsService {
  constructor(
    private readonly database: Database,
    private readonly orders: OrdersService,
    private readonly bank: Bank,
  ) {}

  /** @throws IllegalTransitionError, and Problem `order-unknown`, `amount-exceeds-order`, `illegal-transition`. */
  async refund(command: RefundCommand): Promise<Refund> {
    const context = IdempotencyContext.current();
    if (context?.isTransactional) return this.refundWithAnswer(context.manager, command);
    const begun = await this.database.transaction((manager) => this.start(manager, command));
    if (begun.status === 'REFUNDED') return begun;
    await this.bank.clear(command);
    // Right before the effect: who has lost the key to somebody else leaves the payout to him.
    context?.assertHeld();
    return this.database.transaction((manager) => this.finish(manager, command));
  }

  /** @throws Problem `refund-unknown`. */
  async get(refundId: string): Promise<Refund> {
    const isId = /^[0-9a-f]{1,64}$/.test(refundId);
    const refund = isId && (await this.find(refundId));
    if (!refund) throw new Problem('refund-unknown', `There is no refund ${refundId}.`);
    return refund;
  }

  find(refundId: string): Promise<Refund | null> {
    return this.database.read((manager) => manager.findOneBy(Refund, { refundId }));
  }

  /** All in the transaction that the answer is recorded in: nobody ever sees the order REFUNDING. */
  private async refundWithAnswer(manager: EntityManager, command: RefundCommand): Promise<Refund> {
    const begun = await this.start(manager, command);
    return begun.status === 'REFUNDED' ? begun : this.finish(manager, command);
  }

  private async start(manager: EntityManager, command: RefundCommand): Promise<Refund> {
    const { refundId, orderId, amount } = command;
    if (await this.orders.startRefund(manager, orderId, amount, refundId)) {
      return saveRefund(manager, { ...command, status: 'REFUNDING' });
    }
    const refund = await manager.findOneByOrFail(Refund, { refundId });
    if (refund.amount === amount) return refund;
    throw new Problem(
      'illegal-transition',
      `This refund was begun with ${refund.amount} cents, not with ${amount}.`,
    );
  }

  /** Payout, order and refund in one transaction: after a crash either all of it has happened or nothing. */
  private async finish(manager: EntityManager, command: RefundCommand): Promise<Refund> {
    const { refundId, orderId } = command;
    if (await this.orders.finishRefund(manager, orderId)) {
      await this.bank.book(manager, command);
      return saveRefund(manager, { ...command, status: 'REFUNDED' });
    }
    return manager.findOneByOrFail(Refund, { refundId, status: 'REFUNDED' });
  }
}

function saveRefund(manager: EntityManager, refund: Omit<Refund, 'reason'>): Promise<Refund> {
  return manager.save(Refund, { ...refund, reason: null });
}
