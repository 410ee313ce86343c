import { Column, Entity, PrimaryColumn } from 'typeorm';

/** REQUESTED: on its way through the queue. REFUNDED and FAILED are final. */
export type RefundStatus = 'REQUESTED' | 'REFUNDING' | 'REFUNDED' | 'FAILED';

export type RefundChannel = 'direct' | 'queue';

@Entity('refunds')
export class Refund {
  @PrimaryColumn('varchar', { name: 'refund_id', length: 64 })
  refundId!: string;

  @Column('varchar', { name: 'order_id', length: 64 })
  orderId!: string;

  /** Cents. */
  @Column('integer')
  amount!: number;

  @Column('varchar', { length: 16 })
  channel!: RefundChannel;

  @Column('varchar', { length: 16 })
  status!: RefundStatus;

  /** Why it failed. */
  @Column('varchar', { length: 255, nullable: true })
  reason!: string | null;
}
