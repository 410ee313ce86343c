import type { ReconcileAnswer, UncertainCall } from 'nestjs-idempotent';
import type { OrderAmountDto } from '../orders/order.dto.js';
import { refundIdOf } from './refund.command.js';
import { refundView } from './refund.dto.js';
import { RefundsService } from './refunds.service.js';

/**
 * What became of a refund nobody knows the outcome of: what was written down of it tells. One that is not finished is made
 * again. It goes on where it stopped, and a payout that is on its way is no danger: for one key the bank pays once.
 */
export async function reconcileRefund(uncertain: UncertainCall): Promise<ReconcileAnswer> {
  const { orderId } = uncertain.call.body as OrderAmountDto;
  const refund = await uncertain.get(RefundsService).find(refundIdOf(uncertain, orderId));
  return refund?.status === 'REFUNDED' ? { value: refundView(refund) } : 'retry';
}
