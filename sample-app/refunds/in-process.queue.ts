import { Logger, type OnModuleDestroy } from '@nestjs/common';
import { IdempotencyError } from 'nestjs-idempotent';
import type { RefundCommand } from './refund.command.js';
import { RefundQueue } from './refund.queue.js';

type Consumer = (command: RefundCommand) => Promise<unknown>;

/** How many commands the consumer works on at a time. */
const PREFETCH = 10;
const FIRST_REDELIVERY_MS = 100;
const LAST_REDELIVERY_MS = 5_000;

interface Message {
  readonly command: RefundCommand;
  readonly redeliveryMs: number;
}

/**
 * Stands in for a message broker inside of the process. Delivers at least once: a command the consumer fails on
 * comes again, later each time, until it succeeds or the process ends.
 */
export class InProcessQueue extends RefundQueue implements OnModuleDestroy {
  private readonly logger = new Logger('RefundQueue');
  private readonly ready: Message[] = [];
  private readonly timers = new Set<NodeJS.Timeout>();
  private consumer: Consumer | undefined;
  private delivered = 0;
  private isClosed = false;

  async publish(command: RefundCommand): Promise<void> {
    this.enqueue({ command, redeliveryMs: FIRST_REDELIVERY_MS });
  }

  consume(consumer: Consumer): void {
    this.consumer = consumer;
    this.deliver();
  }

  onModuleDestroy(): void {
    this.isClosed = true;
    this.timers.forEach((timer) => clearTimeout(timer));
  }

  private enqueue(message: Message): void {
    this.ready.push(message);
    this.deliver();
  }

  private deliver(): void {
    while (this.consumer && !this.isClosed && this.delivered < PREFETCH) {
      const message = this.ready.shift();
      if (!message) return;
      this.delivered++;
      void this.consumer(message.command)
        .catch((error: unknown) => this.redeliver(message, error))
        .finally(() => {
          this.delivered--;
          this.deliver();
        });
    }
  }

  private redeliver({ command, redeliveryMs }: Message, error: unknown): void {
    // Somebody else is at it: not a failure, but for this delivery there is nothing to do yet.
    const isBusy = error instanceof IdempotencyError && error.code === 'in-progress';
    if (!isBusy)
      this.logger.warn(`Refund ${command.refundId} comes again in ${redeliveryMs} ms: ${String(error)}`);
    if (this.isClosed) return;
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      this.enqueue({ command, redeliveryMs: Math.min(2 * redeliveryMs, LAST_REDELIVERY_MS) });
    }, redeliveryMs);
    this.timers.add(timer);
  }
}
