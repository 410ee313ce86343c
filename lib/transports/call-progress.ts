import type { Logger } from '@nestjs/common';
import type { ErrorDecision, IdempotentCall } from '../idempotency.call.js';
import { type CallFrame, frames } from '../idempotency.frame.js';
import type { IdempotentRoute } from '../idempotency.route.js';
import type { ValueRunner } from '../idempotency.runner.js';
import { isTransactionFailed } from './refusals.js';

/** How far a call came whose message, or job, is settled by what became of it. */
export class CallProgress {
  /** Undefined as long as nothing of the application was asked to handle it. */
  frame: CallFrame | undefined;
  /** What became of its error; undefined when it failed without having one of its own. */
  decision: ErrorDecision | undefined;
  /** Its key was made, and what came back from then on is the engine's or an earlier run's. */
  isIdentified = false;
  /** The handler has succeeded and its transaction has not: nothing was done, and the key is free. */
  isUndone = false;

  constructor(
    private readonly runner: ValueRunner,
    private readonly logger: Logger,
  ) {}

  /** The handler has begun, and what became of it was not recorded: a later delivery finds out. */
  get isUnrecorded(): boolean {
    const { frame, decision, isIdentified, isUndone } = this;
    if (isUndone) return false;
    return isIdentified && frame?.began === true && decision === undefined && frame.context.isProtected;
  }

  /** @returns what `work` returns, or once returned. @throws as `ValueRunner.runIdentified`. */
  async run(
    route: IdempotentRoute,
    call: IdempotentCall,
    target: Function,
    work: () => unknown,
  ): Promise<unknown> {
    const identity = await route.identify(call);
    this.isIdentified = true;
    const tracked = () => {
      this.frame = frames.getStore();
      return work();
    };
    const decide = (error: unknown) =>
      (this.decision = route.decide(error, call, (message) => this.logger.error(message)));
    try {
      return await this.runner.runIdentified(identity, route, call, target, tracked, decide);
    } catch (error) {
      this.isUndone = this.decision === undefined && isTransactionFailed(error);
      throw error;
    }
  }
}
