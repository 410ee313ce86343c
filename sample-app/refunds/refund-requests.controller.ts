import { Body, Controller, HttpCode, Post, Res } from '@nestjs/common';
import { ApiAcceptedResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { IdempotencyContext, IdempotencyCtx, Idempotent } from 'nestjs-idempotent';
import { OrderAmountDto } from '../orders/order.dto.js';
import { ApiIdempotent } from './api-idempotent.decorator.js';
import { refundCommand } from './refund.command.js';
import { RefundRequestView } from './refund.dto.js';
import { RefundRequestsService } from './refund-requests.service.js';

@ApiTags('refunds')
@Controller('refund-requests')
export class RefundRequestsController {
  constructor(private readonly requests: RefundRequestsService) {}

  @Post()
  @ApiOperation({
    summary:
      'Has an order refunded by the payment service, through the queue. `GET /refunds/:refundId` tells how far it is',
  })
  @HttpCode(202)
  @Idempotent()
  @ApiIdempotent({ header: true })
  @ApiAcceptedResponse({ type: RefundRequestView })
  async create(
    @Body() body: OrderAmountDto,
    @IdempotencyCtx() context: IdempotencyContext,
    @Res({ passthrough: true }) response: { header(name: string, value: string): unknown },
  ): Promise<RefundRequestView> {
    const { refundId } = await this.requests.accept(refundCommand(context, body, 'queue'));
    response.header('Location', `/refunds/${refundId}`);
    return { refundId };
  }
}
