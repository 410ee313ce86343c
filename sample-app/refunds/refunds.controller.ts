import { Body, Controller, Get, Param, Post, type Type, UseInterceptors } from '@nestjs/common';
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
import { PayoutTimeInterceptor } from './payout-time.interceptor.js';
import { refundCommand } from './refund.command.js';
import { RefundView, refundView } from './refund.dto.js';
import { reconcileRefund } from './refund.reconcile.js';
import { RefundsService } from './refunds.service.js';

/**
 * The class is made when the app starts: only then it is known whether its refunds can be transactions.
 *
 * @param transactional whether order, payout and answer commit together.
 */
export function refundsController(transactional: boolean): Type {
  @ApiTags('refunds')
  @Controller('refunds')
  class RefundsController {
    constructor(private readonly refunds: RefundsService) {}

    @Post()
    @ApiOperation({
      summary: 'Refunds an order. The caller names the operation with the Idempotency-Key header',
    })
    @UseInterceptors(PayoutTimeInterceptor)
    @Idempotent({ transactional, reconcile: reconcileRefund })
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
    @UseInterceptors(PayoutTimeInterceptor)
    @Idempotent('refund:{body.orderId}', { transactional, reconcile: reconcileRefund })
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

  return RefundsController;
}
