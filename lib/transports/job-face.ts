import { Inject, Injectable, Logger } from '@nestjs/common';
import { IdempotencyError } from '../idempotency.errors.js';
import type { IdempotentRoute } from '../idempotency.route.js';
import { ValueRunner } from '../idempotency.runner.js';
import { delayedError, type Job, jobCall, unrecoverableError } from './bullmq-job.js';
import { CallProgress } from './call-progress.js';
import { isForNow, isUncertainOutcome } from './refusals.js';

/** Jobs of BullMQ: claim, run, record, return; and tell BullMQ what becomes of a job that was not run or that failed. */
@Injectable()
export class JobFace {
  private readonly logger = new Logger('Idempotency');

  constructor(@Inject(ValueRunner) private readonly runner: ValueRunner) {}

  /**
   * @returns what the method returns, or what it once returned.
   * @throws what BullMQ knows how to settle the job by: `DelayedError` when the job comes again later,
   * `UnrecoverableError` when it would fail in the same way again, else the method's error.
   */
  async handle(
    route: IdempotentRoute,
    job: Job,
    instance: object,
    method: Function,
    args: readonly unknown[],
  ): Promise<unknown> {
    const call = jobCall(job, route.scope, args);
    const progress = new CallProgress(this.runner, this.logger);
    try {
      return await progress.run(route, call, method, () => method.apply(instance, args) as unknown);
    } catch (error) {
      throw await this.settled(job, error, progress, route);
    }
  }

  private async settled(
    job: Job,
    error: unknown,
    { frame, decision, isIdentified, isUnrecorded }: CallProgress,
    { label, policy }: IdempotentRoute,
  ): Promise<unknown> {
    if (isForNow(error) || isUncertainOutcome(error) || isUnrecorded) {
      await this.delay(job, policy.redeliveryDelayMs, label);
      return delayedError(error);
    }
    const isRecorded = isIdentified && !frame;
    const isLasting = frame?.began ? decision === 'replay' : isRecorded || error instanceof IdempotencyError;
    return isLasting ? unrecoverableError(error) : error;
  }

  /** Never rejects: what is not ours any more is with somebody else, or will be when BullMQ finds it stalled. */
  private async delay(job: Job, ms: number, label: string): Promise<void> {
    try {
      await job.moveToDelayed(Date.now() + ms, job.token);
    } catch (error) {
      this.logger.warn(
        `Job ${job.id} of ${job.queueName} for ${label} could not be delayed: ${String(error)}`,
      );
    }
  }
}
