import { Body, Controller, HttpCode, Post, UseGuards } from '@nestjs/common';
import {
  ApiConflictResponse,
  ApiHeader,
  ApiOkResponse,
  ApiOperation,
  ApiTags,
  ApiUnauthorizedResponse,
  ApiUnprocessableEntityResponse,
} from '@nestjs/swagger';
import { days, Idempotent } from 'nestjs-idempotent';
import { OrdersService } from '../orders/orders.service.js';
import { PAYMENT_SUCCEEDED, PaymentEventDto, ReceivedView } from './payment-event.dto.js';
import { PaymentProviderGuard } from './payment-provider.guard.js';

@ApiTags('webhooks')
@Controller('webhooks')
export class PaymentEventsController {
  constructor(private readonly orders: OrdersService) {}

  /** Killed between the order and the record of the event, it runs again, and finds its order. */
  @Post('payments')
  @HttpCode(200)
  @UseGuards(PaymentProviderGuard)
  @Idempotent('{body.id}', {
    // The rest may differ from one delivery to the next.
    fingerprint: ({ body }) => [body.type, body.data],
    // Whatever has failed, the provider comes again: then it runs again.
    onError: 'release',
    // Longer than the provider repeats an event.
    retentionMs: days(30),
  })
  @ApiOperation({ summary: 'The payment provider tells what has happened. Every event as often as it likes' })
  @ApiHeader({ name: 'Webhook-Signature', required: true, example: 't=1767225600,v1=…' })
  @ApiOkResponse({ type: ReceivedView })
  @ApiUnauthorizedResponse({ description: 'Not signed by the provider, or long ago' })
  @ApiConflictResponse({ description: 'The event is being worked on, or its order is another one' })
  @ApiUnprocessableEntityResponse({ description: 'The id was that of another event' })
  async receive(@Body() { id, type, data }: PaymentEventDto): Promise<ReceivedView> {
    if (type === PAYMENT_SUCCEEDED) await this.orders.createOnce(data.orderId, data.amount);
    return { received: id };
  }
}
