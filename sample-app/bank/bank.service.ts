import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import { Environment } from '../config/environment.js';
import { Database } from '../database/database.js';
import { isOrderId } from '../orders/order-id.js';
import { Payout } from './payout.entity.js';

/**
 * A bank whose ledger is a table of the shop's database. It pays whatever it is told to pay, as often as it is
 * told: that an order is paid out once is the business of those who call it.
 */
@Injectable()
export class BankService {
  constructor(
    private readonly environment: Environment,
    private readonly database: Database,
  ) {}

  /** The time a payout takes. Spent before the transaction, which should be short. */
  async clear(): Promise<void> {
    await sleep(this.environment.BANK_LATENCY_MS);
  }

  /** Money leaves when the transaction of `manager` commits. */
  async payOut(manager: EntityManager, orderId: string, amount: number): Promise<void> {
    await manager.insert(Payout, { payoutId: randomUUID(), orderId, amount, at: new Date().toISOString() });
  }

  /** The payouts of an order, or all, in the order of time. */
  async ledger(orderId?: string): Promise<Payout[]> {
    if (orderId !== undefined && !isOrderId(orderId)) return [];
    return this.database.read((manager) =>
      manager.find(Payout, {
        where: orderId === undefined ? {} : { orderId },
        order: { at: 'ASC', payoutId: 'ASC' },
      }),
    );
  }
}
