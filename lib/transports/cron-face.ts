import { Inject, Injectable } from '@nestjs/common';
import { localCall } from '../idempotency.call.js';
import { IdempotencyError, IdempotencyOptionsError } from '../idempotency.errors.js';
import type { IdempotentRoute } from '../idempotency.route.js';
import { ValueRunner } from '../idempotency.runner.js';
import { cronOptionsOf, CronTicks } from './cron-ticks.js';

/** `@Cron` methods of `@nestjs/schedule`: a tick that another process is at is nothing to report. */
@Injectable()
export class CronFace {
  constructor(
    @Inject(ValueRunner) private readonly runner: ValueRunner,
    @Inject(CronTicks) private readonly ticks: CronTicks,
  ) {}

  /** @returns what the method returns, or once returned; undefined while another process is at it. */
  async handle(
    route: IdempotentRoute,
    instance: object,
    method: Function,
    args: readonly unknown[],
  ): Promise<unknown> {
    const tick = this.ticks.tickOf(cronOptionsOf(method)!);
    const call = localCall({ transport: 'cron', scope: route.scope, args, tick });
    try {
      return await this.runner.runRoute(route, call, method, () => method.apply(instance, args) as unknown);
    } catch (error) {
      if (error instanceof IdempotencyError && error.code === 'in-progress') return undefined;
      throw error;
    }
  }
}

/** @throws IdempotencyOptionsError when the key of a method and its schedule do not go together. */
export function checkSchedule(route: IdempotentRoute, method: Function): void {
  const { template, label } = route;
  const hasTick = template?.includes('{tick}') ?? false;
  if (cronOptionsOf(method)) {
    if (hasTick || (template === undefined && !route.readsHeader)) return;
    throw new IdempotencyOptionsError(
      `@Idempotent on ${label}: a @Cron method is called without arguments, so only its time tells one call from another; ` +
        `write @Idempotent('{tick}')`,
    );
  }
  if (hasTick) {
    throw new IdempotencyOptionsError(
      `@Idempotent on ${label}: only the calls of a @Cron method have a {tick}; put @Cron on it (@Interval and @Timeout begin ` +
        'when their process does), or make the key of something else',
    );
  }
}
