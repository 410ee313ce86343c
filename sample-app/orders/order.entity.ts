import { Column, Entity, PrimaryColumn } from 'typeorm';

export type OrderStatus = 'PAID' | 'REFUNDING' | 'REFUNDED';

@Entity('orders')
export class Order {
  @PrimaryColumn('varchar', { name: 'order_id', length: 64 })
  orderId!: string;

  /** Cents. */
  @Column('integer')
  amount!: number;

  @Column('varchar', { length: 16 })
  status!: OrderStatus;

  /** The refund that took the order out of PAID. Nobody else takes it any further. */
  @Column('varchar', { name: 'refund_id', length: 64, nullable: true })
  refundId!: string | null;
}
