import { ApiProperty } from '@nestjs/swagger';
import { Type } from 'class-transformer';
import { IsDefined, IsString, Matches, ValidateIf, ValidateNested } from 'class-validator';
import { OrderAmountDto } from '../orders/order.dto.js';

/** The event the shop does something about. */
export const PAYMENT_SUCCEEDED = 'payment.succeeded';

export class PaymentEventDto {
  @ApiProperty({ example: 'evt_1', description: 'The same in every delivery of the event' })
  @Matches(/^\w{1,255}$/, { message: 'id must be 1 to 255 letters, digits or _' })
  id!: string;

  @ApiProperty({ example: PAYMENT_SUCCEEDED })
  @IsString({ message: 'type must be a text' })
  type!: string;

  @ApiProperty({ type: OrderAmountDto })
  @ValidateIf(({ type }: PaymentEventDto) => type === PAYMENT_SUCCEEDED)
  @IsDefined({ message: 'data must be there' })
  @ValidateNested({ message: 'data must have orderId and amount' })
  @Type(() => OrderAmountDto)
  data!: OrderAmountDto;
}

export class ReceivedView {
  @ApiProperty({ example: 'evt_1' })
  received!: string;
}
