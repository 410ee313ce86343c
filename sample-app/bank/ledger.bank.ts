import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import { Environment } from '../config/environment.js';
import { Database } from '../database/database.js';
import { isOrderId } from '../orders/order-id.js';
import { Bank, type PayoutOrder } from './bank.js';
import { Payout } from './payout.entity.js';

/** A bank whose ledger is a table of the shop's database. */
@Injectable()
export class LedgerBank extends Bank {
  readonly place = 'ledger';

  constructor(
    private readonly environment: Environment,
    private readonly database: Database,
  ) {
    super();
  }

  /** The time a payout takes. Spent before the transaction, which should be short. */
  async clear(): Promise<void> {
    await sleep(this.environment.BANK_LATENCY_MS);
  }

  /** Money leaves when the transaction of `manager` commits. */
  async book(manager: EntityManager, { orderId, amount }: PayoutOrder): Promise<void> {
    await manager.insert(Payout, { payoutId: randomUUID(), orderId, amount, at: new Date().toISOString() });
  }

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
