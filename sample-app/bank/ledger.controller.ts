import { Controller, Get, Query } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { Bank } from './bank.js';
import { LedgerQueryDto, PayoutView } from './ledger.dto.js';

@ApiTags('ledger')
@Controller('ledger')
export class LedgerController {
  constructor(private readonly bank: Bank) {}

  @Get()
  @ApiOperation({ summary: 'The money that left: one row is one payout' })
  @ApiOkResponse({ type: [PayoutView] })
  list(@Query() { orderId }: LedgerQueryDto): Promise<PayoutView[]> {
    return this.bank.ledger(orderId);
  }
}
