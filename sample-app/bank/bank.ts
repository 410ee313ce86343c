import type { EntityManager } from 'typeorm';
import type { RefundCommand } from '../refunds/refund.command.js';
import type { Payout } from './payout.entity.js';

export type PayoutOrder = Pick<RefundCommand, 'orderId' | 'amount'>;

/**
 * Pays whatever it is told to pay: that an order is paid out once is the business of those who call it. Also the
 * injection token.
 */
export abstract class Bank {
  /** For people. */
  abstract readonly place: string;

  /** What a payout does before the transaction it is booked in. Calls of one refund do it once, or as if once. */
  abstract clear(order: PayoutOrder): Promise<void>;

  /** A payout's part of that transaction. */
  abstract book(manager: EntityManager, order: PayoutOrder): Promise<void>;

  /** The payouts of an order, or all, in the order of time. */
  abstract ledger(orderId?: string): Promise<Payout[]>;
}
