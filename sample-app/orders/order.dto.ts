import { ApiProperty } from '@nestjs/swagger';
import { IsInt, Matches, Max, Min } from 'class-validator';
import type { OrderStatus } from './order.entity.js';
import { ORDER_ID } from './order-id.js';

/** 10 million in whole units. */
const MOST_CENTS = 1_000_000_000;

/** What names an order, and an amount in cents: the body of every request that changes something. */
export class OrderAmountDto {
  @ApiProperty({ example: 'order-1', pattern: ORDER_ID.source })
  @Matches(ORDER_ID, { message: 'orderId must be 1 to 64 letters, digits, or characters of _ . : -' })
  orderId!: string;

  @ApiProperty({ example: 1999, type: 'integer', minimum: 1, maximum: MOST_CENTS, description: 'Cents' })
  @IsInt({ message: 'amount must be a whole number of cents' })
  @Min(1, { message: 'amount must be at least 1 cent' })
  @Max(MOST_CENTS, { message: `amount must be at most ${MOST_CENTS} cents` })
  amount!: number;
}

export class OrderView {
  @ApiProperty({ example: 'order-1' })
  orderId!: string;

  @ApiProperty({ example: 1999, description: 'Cents' })
  amount!: number;

  @ApiProperty({ enum: ['PAID', 'REFUNDING', 'REFUNDED'] })
  status!: OrderStatus;
}
