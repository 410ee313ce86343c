import { Body, Controller, Get, Param, Post } from '@nestjs/common';
import {
  ApiCreatedResponse,
  ApiNotFoundResponse,
  ApiOkResponse,
  ApiOperation,
  ApiTags,
} from '@nestjs/swagger';
import { IdempotencyContext, IdempotencyCtx, Idempotent } from 'nestjs-idempotent';
import { OrderAmountDto } from '../orders/order.dto.js';
import { ApiIdempotent } from './api-idempotent.decorator.js';
import { refundCommand } from './refund.command.js';
import { RefundView, refundView } from './refund.dto.js';
import { RefundsService } from './refunds.service.js';

@ApiTags('refunds')
@Controller('refunds')
export class RefundsController {
  constructor(private readonly refunds: RefundsService) {}

  @Post()
  @ApiOperation({
    summary: 'Refunds an order. The caller names the operation with the Idempotency-Key header',
  })
  @Idempotent()
  @ApiIdempotent({ header: true })
  @ApiCreatedResponse({ type: RefundView })
  async create(
    @Body() body: OrderAmountDto,
    @IdempotencyCtx() context: IdempotencyContext,
  ): Promise<RefundView> {
    return refundView(await this.refunds.refund(refundCommand(context, body, 'direct')));
  }

  @Post('by-order')
  @ApiOperation({ summary: 'Refunds an order. The order names the operation; no header is needed' })
  @Idempotent('refund:{body.orderId}')
  @ApiIdempotent({ header: false })
  @ApiCreatedResponse({ type: RefundView })
  async createByOrder(
    @Body() body: OrderAmountDto,
    @IdempotencyCtx() context: IdempotencyContext,
  ): Promise<RefundView> {
    return refundView(await this.refunds.refund(refundCommand(context, body, 'direct')));
  }

  @Get(':refundId')
  @ApiOperation({ summary: 'How far a refund is' })
  @ApiOkResponse({ type: RefundView })
  @ApiNotFoundResponse({ description: 'There is no such refund' })
  async get(@Param('refundId') refundId: string): Promise<RefundView> {
    return refundView(await this.refunds.get(refundId));
  }
}
