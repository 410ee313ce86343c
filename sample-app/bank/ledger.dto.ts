import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsOptional, IsString } from 'class-validator';

export class LedgerQueryDto {
  @ApiPropertyOptional({ example: 'order-1' })
  @IsOptional()
  @IsString({ message: 'orderId must be given once' })
  orderId?: string;
}

export class PayoutView {
  @ApiProperty({ example: '0b6f7a3e-3f0c-4a3c-9a52-2f6f4a1f8d11' })
  payoutId!: string;

  @ApiProperty({ example: 'order-1' })
  orderId!: string;

  @ApiProperty({ example: 1999, description: 'Cents' })
  amount!: number;

  @ApiProperty({ example: '2026-01-31T12:00:00.000Z' })
  at!: string;
}
