import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { Idempotent } from 'nestjs-idempotent';
import { TransitionError } from 'nestjs-idempotent/stores/typeorm';
import { Database } from '../database/database.js';
import { Problem } from '../problem.js';
import { InProcessQueue } from './in-process.queue.js';
import type { RefundCommand } from './refund.command.js';
import { type RefundView, refundView } from './refund.dto.js';
import { Refund } from './refund.entity.js';
import { RefundQueue } from './refund.queue.js';
import { RefundsService } from './refunds.service.js';

/** The payment service: works on what the queue delivers, and a command delivered twice is worked on once. */
@Injectable()
export class RefundConsumer implements OnApplicationBootstrap {
  constructor(
    private readonly queue: RefundQueue,
    private readonly refunds: RefundsService,
    private readonly database: Database,
  ) {}

  onApplicationBootstrap(): void {
    if (this.queue instanceof InProcessQueue) this.queue.consume((command) => this.refund(command));
  }

  /** What the queue inside of the process delivers. */
  @Idempotent('{args.0.refundId}')
  refund(command: RefundCommand): Promise<RefundView> {
    return this.work(command);
  }

  /** A refusal is an answer, it comes back the same however often it is asked for; any other error is delivered again. */
  async work(command: RefundCommand): Promise<RefundView> {
    try {
      return refundView(await this.refunds.refund(command));
    } catch (error) {
      if (!(error instanceof Problem || error instanceof TransitionError)) throw error;
      return this.fail(command, error.detail);
    }
  }

  private async fail(command: RefundCommand, reason: string): Promise<RefundView> {
    const refund: Refund = { ...command, status: 'FAILED', reason };
    await this.database.transaction((manager) => manager.save(Refund, refund));
    return refundView(refund);
  }
}
