import type { IdempotencyContext } from 'nestjs-idempotent';
import type { OrderAmountDto } from '../orders/order.dto.js';
import type { RefundChannel } from './refund.entity.js';

/** An order to give money back, as it travels through the shop. */
export interface RefundCommand {
  readonly refundId: string;
  readonly orderId: string;
  /** Cents. */
  readonly amount: number;
  readonly channel: RefundChannel;
}

/** The refund id comes from the key: a call that is made again after a crash makes the same refund. */
export function refundCommand(
  context: IdempotencyContext,
  { orderId, amount }: OrderAmountDto,
  channel: RefundChannel,
): RefundCommand {
  return { refundId: refundIdOf(context, orderId), orderId, amount, channel };
}

export function refundIdOf(call: Pick<IdempotencyContext, 'deriveKey'>, orderId: string): string {
  return call.deriveKey(`refund:${orderId}`).slice(0, 32);
}
