import type { RefundCommand } from './refund.command.js';

/** Takes commands from the refund service to the payment service, each at least once. Also the injection token. */
export abstract class RefundQueue {
  /** Resolves when the queue has it. */
  abstract publish(command: RefundCommand): Promise<void>;
}
