import {
  type CallHandler,
  type ExecutionContext,
  HttpException,
  Inject,
  Injectable,
  Logger,
} from '@nestjs/common';
import { catchError, EMPTY, from, lastValueFrom, mergeAll, NEVER, type Observable, of } from 'rxjs';
import { defaultOnError } from '../idempotency.call.js';
import { IdempotencyError } from '../idempotency.errors.js';
import type { IdempotentRoute } from '../idempotency.route.js';
import { ValueRunner } from '../idempotency.runner.js';
import type { LockedRoute } from '../locked.route.js';
import { CallProgress } from './call-progress.js';
import { kafkaKindOf } from './kafka-message.js';
import { deliveryOf, type RabbitDelivery } from './rabbitmq-delivery.js';
import { isForNow, isNameless, isUncertainOutcome } from './refusals.js';
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

  /**
   * Messages of a handler that takes a lock and has no key. One that did not get the lock is put back, as one with a key
   * is; what the handler says is done at once, and what it throws is the application's.
   */
  handleLocked(context: ExecutionContext, next: CallHandler, route: LockedRoute): Observable<unknown> {
    const request: object = Object(context.switchToRpc().getContext());
    const delivery = deliveryOf(request);
    delivery?.watch();
    const failed = (error: unknown) => this.lockedFailed(request, delivery, error, route);
    return next.handle().pipe(catchError((error: unknown) => from(failed(error)).pipe(mergeAll())));
  }

  /** @throws what has the message delivered again, or what its sender is told. */
  private async lockedFailed(
    request: object,
    delivery: RabbitDelivery | undefined,
    error: unknown,
    { label, redeliveryDelayMs }: LockedRoute,
  ): Promise<Observable<unknown>> {
    if (delivery && !delivery.isDone) {
      if (isForNow(error)) {
        await delivery.putBack(redeliveryDelayMs);
        return delivery.isRequest ? NEVER : EMPTY;
      }
      if (isNameless(error)) this.rejects(delivery, error, label);
    }
    if (isForNow(error) && kafkaKindOf(request)) throw kafkaRetry(error);
    throw rpcRefusal(error);
  }

  /** A message that cannot be handled however often it comes. */
  private rejects(delivery: RabbitDelivery, error: unknown, label: string): void {
    if (delivery.isRequest) return delivery.otherwise(() => delivery.acknowledge());
    this.logger.warn(`A message for ${label} was rejected: ${String(error)}`);
    delivery.otherwise(() => delivery.reject());
  }

  /**
   * Settles the message of a call that failed.
   *
   * @returns true when it comes again later, so that there is no answer yet.
   */
  private async putsBack(
    delivery: RabbitDelivery,
    error: unknown,
    { frame, decision, isIdentified, isUnrecorded, isUndone }: CallProgress,
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
      if (isUndone) delivery.forget();
      delivery.free();
      delivery.otherwise(isRequest || decision === 'replay' ? () => delivery.acknowledge() : putBack);
      return false;
    }
    const isRecorded = isIdentified && !frame && (!isRefusal || error.code === 'response-not-replayable');
    if (isRecorded) delivery.otherwise(() => delivery.acknowledge());
    else if (isRequest || isRefusal || isLasting(error)) this.rejects(delivery, error, label);
    else delivery.otherwise(putBack);
    return false;
  }
}

/** Said to the sender about what was sent: the next delivery would meet the same. */
function isLasting(error: unknown): boolean {
  if (error instanceof HttpException) return defaultOnError(error) === 'replay';
  return error instanceof Error && rpcAnswerOf(error) !== undefined;
}
