import { Inject, Injectable, Logger } from '@nestjs/common';
import type { ErrorDecision } from '../idempotency.call.js';
import { IdempotencyError } from '../idempotency.errors.js';
import { type CallFrame, frames } from '../idempotency.frame.js';
import type { IdempotentRoute } from '../idempotency.route.js';
import { ValueRunner } from '../idempotency.runner.js';
import { delayedError, type Job, jobCall, unrecoverableError } from './bullmq-job.js';
import { isForNow, isUncertainOutcome } from './refusals.js';

/** How far a job came. */
interface Progress {
  /** Undefined as long as the method was not called. */
  frame?: CallFrame | undefined;
  /** What became of its error; undefined when it failed without having one of its own. */
  decision?: ErrorDecision;
  /** Its key was made, and what came back from then on is the engine's or an earlier run's. */
  isIdentified: boolean;
}

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
    const progress: Progress = { isIdentified: false };
    const work = () => {
      progress.frame = frames.getStore();
      return method.apply(instance, args) as unknown;
    };
    const decide = (error: unknown) =>
      (progress.decision = route.decide(error, call, (message) => this.logger.error(message)));
    try {
      const identity = await route.identify(call);
      progress.isIdentified = true;
      return await this.runner.runIdentified(identity, route, call, method, work, decide);
    } catch (error) {
      throw await this.settled(job, error, progress, route);
    }
  }

  private async settled(
    job: Job,
    error: unknown,
    { frame, decision, isIdentified }: Progress,
    { label, policy }: IdempotentRoute,
  ): Promise<unknown> {
    const isUnrecorded = frame?.began && frame.context.isProtected && decision === undefined;
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
