import {
  type CallHandler,
  type ExecutionContext,
  HttpException,
  Inject,
  Injectable,
  Logger,
} from '@nestjs/common';
import { catchError, EMPTY, lastValueFrom, NEVER, type Observable, of, throwError } from 'rxjs';
import { defaultOnError } from '../idempotency.call.js';
import { IdempotencyError } from '../idempotency.errors.js';
import type { IdempotentRoute } from '../idempotency.route.js';
import { ValueRunner } from '../idempotency.runner.js';
import { CallProgress } from './call-progress.js';
import { kafkaKindOf } from './kafka-message.js';
import { deliveryOf, type RabbitDelivery } from './rabbitmq-delivery.js';
import { isForNow, isUncertainOutcome } from './refusals.js';
import { kafkaRetry, rpcAnswerOf, rpcRefusal } from './rpc-exception.js';
import { rpcCall } from './rpc-message.js';

/** Messages of `@nestjs/microservices`: claim, run, record, answer, and settle the message where that is to be done. */
@Injectable()
export class RpcFace {
  private readonly logger = new Logger('Idempotency');

  constructor(@Inject(ValueRunner) private readonly runner: ValueRunner) {}

  /** @throws RpcException with the problem when the call is refused and nothing can bring its message again later. */
  async handle(
    context: ExecutionContext,
    next: CallHandler,
    route: IdempotentRoute,
  ): Promise<Observable<unknown>> {
    const call = rpcCall(context, route.scope);
    const delivery = deliveryOf(call.request as object);
    const progress = new CallProgress(this.runner, this.logger);
    const work = () => {
      delivery?.hold();
      return lastValueFrom(next.handle(), { defaultValue: undefined });
    };
    try {
      const value = await progress.run(route, call, context.getHandler(), work);
      if (progress.frame) delivery?.free();
      else delivery?.acknowledge();
      return of(value);
    } catch (error) {
      if (delivery && (await this.putsBack(delivery, error, progress, route))) {
        // Who asked gets the answer of a later delivery; until then none.
        return delivery.isRequest ? NEVER : EMPTY;
      }
      const kafka = kafkaKindOf(call.request as object);
      if (kafka) return this.kafkaAnswer(kafka, error, progress);
      throw rpcRefusal(error);
    }
  }

  /** @throws what has the message delivered again, or what its sender is told. */
  private kafkaAnswer(
    kind: 'request' | 'event',
    error: unknown,
    { frame, isIdentified, isUnrecorded }: CallProgress,
  ): Observable<unknown> {
    const isEvent = kind === 'event';
    if (isForNow(error) || isUnrecorded || (isUncertainOutcome(error) && isEvent)) throw kafkaRetry(error);
    const isRecorded = isIdentified && !frame && !(error instanceof IdempotencyError);
    // It was done; told as a failure it would be delivered again without end.
    if (isRecorded && isEvent) return of(undefined);
    throw rpcRefusal(error);
  }

  /** Gives refusals that come out of an answer the form that callers of messages get. */
  refusable(answer$: Observable<unknown>): Observable<unknown> {
    return answer$.pipe(catchError((error: unknown) => throwError(() => rpcRefusal(error))));
  }

  /**
   * Settles the message of a call that failed.
   *
   * @returns true when it comes again later, so that there is no answer yet.
   */
  private async putsBack(
    delivery: RabbitDelivery,
    error: unknown,
    { frame, decision, isIdentified, isUnrecorded }: CallProgress,
    { label, policy }: IdempotentRoute,
  ): Promise<boolean> {
    const { isRequest } = delivery;
    const putBack = () => delivery.putBack(policy.redeliveryDelayMs);
    const isRefusal = error instanceof IdempotencyError;
    if (isForNow(error) || isUnrecorded || (isUncertainOutcome(error) && !isRequest)) {
      await putBack();
      return true;
    }
    if (frame?.began) {
      delivery.free();
      delivery.otherwise(isRequest || decision === 'replay' ? () => delivery.acknowledge() : putBack);
      return false;
    }
    const isRecorded = isIdentified && !frame && (!isRefusal || error.code === 'response-not-replayable');
    if (isRecorded || isRequest) delivery.otherwise(() => delivery.acknowledge());
    else if (isRefusal || isLasting(error)) {
      this.logger.warn(`A message for ${label} was rejected: ${String(error)}`);
      delivery.otherwise(() => delivery.reject());
    } else {
      delivery.otherwise(putBack);
    }
    return false;
  }
}

/** Said to the sender about what was sent: the next delivery would meet the same. */
function isLasting(error: unknown): boolean {
  if (error instanceof HttpException) return defaultOnError(error) === 'replay';
  return error instanceof Error && rpcAnswerOf(error) !== undefined;
}
