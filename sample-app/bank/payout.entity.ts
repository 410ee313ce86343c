import { Column, Entity, PrimaryColumn } from 'typeorm';

/** One row is one payout: the money that left. */
@Entity('ledger')
export class Payout {
  @PrimaryColumn('varchar', { name: 'payout_id', length: 64 })
  payoutId!: string;

  @Column('varchar', { name: 'order_id', length: 64 })
  orderId!: string;

  /** Cents. */
  @Column('integer')
  amount!: number;

  /** ISO 8601, UTC. Text, so that no time zone of a session or a client library can shift it. */
  @Column('varchar', { length: 24 })
  at!: string;
}
