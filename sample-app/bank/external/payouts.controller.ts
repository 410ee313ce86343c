import { setTimeout as sleep } from 'node:timers/promises';
import {
  BadRequestException,
  Body,
  Controller,
  Get,
  Headers,
  Post,
  Query,
  UnprocessableEntityException,
} from '@nestjs/common';
import { OrderAmountDto } from '../../orders/order.dto.js';
import { LedgerQueryDto } from '../ledger.dto.js';
import type { Payout } from '../payout.entity.js';
import { BankEnvironment } from './bank.environment.js';
import { BankLedger } from './bank.ledger.js';

const KEY = /^[\x21-\x7e]{1,255}$/;

@Controller('payouts')
export class PayoutsController {
  constructor(
    private readonly environment: BankEnvironment,
    private readonly ledger: BankLedger,
  ) {}

  /** However often it comes with one key, money leaves once, and the answer is that payout. */
  @Post()
  async create(@Body() order: OrderAmountDto, @Headers('idempotency-key') key = ''): Promise<Payout> {
    if (!KEY.test(key)) {
      const was = key === '' ? 'missing' : 'malformed';
      throw new BadRequestException(
        `Idempotency-Key is ${was}; it must be 1 to 255 visible ASCII characters`,
      );
    }
    await sleep(this.environment.BANK_LATENCY_MS);
    const payout = this.ledger.payOut(key, order);
    if (payout.orderId === order.orderId && payout.amount === order.amount) return payout;
    throw new UnprocessableEntityException('Idempotency-Key is already used for another payout');
  }

  @Get()
  list(@Query() { orderId }: LedgerQueryDto): Payout[] {
    return this.ledger.list(orderId);
  }
}
