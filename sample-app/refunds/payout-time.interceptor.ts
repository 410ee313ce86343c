import { setTimeout as sleep } from 'node:timers/promises';
import { type CallHandler, type ExecutionContext, Injectable, type NestInterceptor } from '@nestjs/common';
import type { Observable } from 'rxjs';
import { Environment } from '../config/environment.js';

/**
 * The time a payout takes, where the handler is a transaction: spent with the key claimed and the transaction, which
 * should be short and has a connection of the pool, not begun.
 */
@Injectable()
export class PayoutTimeInterceptor implements NestInterceptor {
  constructor(private readonly environment: Environment) {}

  async intercept(_context: ExecutionContext, next: CallHandler): Promise<Observable<unknown>> {
    const { isTransactional, BANK_LATENCY_MS } = this.environment;
    if (isTransactional) await sleep(BANK_LATENCY_MS);
    return next.handle();
  }
}
