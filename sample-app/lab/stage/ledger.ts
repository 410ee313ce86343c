import { randomUUID } from 'node:crypto';
import { Column, type DataSource, Entity, type EntityManager, MoreThan, PrimaryColumn } from 'typeorm';
import type { PayOptions, RefundCommand } from '../scheme.js';

/** One row is one payout. Nothing here keeps a second one away: that is what the schemes are for. */
@Entity('lab_ledger')
export class LabPayout {
  @PrimaryColumn('varchar', { name: 'payout_id', length: 36 })
  payoutId!: string;

  @Column('varchar', { name: 'order_id', length: 128 })
  orderId!: string;

  /** Cents. */
  @Column('integer')
  amount!: number;

  /** Of the lock that the payer held; 0 where locks have none. */
  @Column('bigint')
  fence!: string;
}

const CREATE_TABLE = `CREATE TABLE IF NOT EXISTS lab_ledger (payout_id varchar(36) PRIMARY KEY,
  order_id varchar(128) NOT NULL, amount integer NOT NULL, fence bigint NOT NULL)`;

export class Ledger {
  constructor(private readonly dataSource: DataSource) {}

  async createTable(): Promise<void> {
    await this.dataSource.query(CREATE_TABLE);
  }

  /**
   * Looks at fences and inserts in two statements, which is enough here: the one with the older fence comes long
   * after the other. A real bank does both in one.
   */
  async pay({ orderId, amount }: RefundCommand, { manager, fence = 0n }: PayOptions): Promise<boolean> {
    const place: EntityManager = manager ?? this.dataSource.manager;
    const isLate =
      fence > 0n && (await place.existsBy(LabPayout, { orderId, fence: MoreThan(String(fence)) }));
    if (isLate) return false;
    await place.insert(LabPayout, { payoutId: randomUUID(), orderId, amount, fence: String(fence) });
    return true;
  }

  payouts(orderId: string): Promise<number> {
    return this.dataSource.manager.countBy(LabPayout, { orderId });
  }
}
