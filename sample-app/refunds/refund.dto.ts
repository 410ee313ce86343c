import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import type { Refund, RefundStatus } from './refund.entity.js';

export class RefundView {
  @ApiProperty({ example: '5f2b1c0de4a94b7f8d6e3c2a1b0f9e8d' })
  refundId!: string;

  @ApiProperty({ example: 'order-1' })
  orderId!: string;

  @ApiProperty({ example: 1999, description: 'Cents' })
  amount!: number;

  @ApiProperty({ enum: ['REQUESTED', 'REFUNDING', 'REFUNDED', 'FAILED'] })
  status!: RefundStatus;

  @ApiPropertyOptional({ description: 'Why it failed' })
  reason?: string;
}

export class RefundRequestView {
  @ApiProperty({ example: '5f2b1c0de4a94b7f8d6e3c2a1b0f9e8d' })
  refundId!: string;
}

export function refundView({ refundId, orderId, amount, status, reason }: Refund): RefundView {
  return { refundId, orderId, amount, status, ...(reason === null ? {} : { reason }) };
}
