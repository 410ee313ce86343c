import { type CallHandler, type ExecutionContext, Inject, Injectable, Logger } from '@nestjs/common';
import { catchError, lastValueFrom, type Observable, of } from 'rxjs';
import { type IdempotentCall, localCall } from '../idempotency.call.js';
import { IdempotencyError, IdempotencyOptionsError } from '../idempotency.errors.js';
import type { IdempotentRoute } from '../idempotency.route.js';
import { ValueRunner } from '../idempotency.runner.js';
import type { LockedRoute } from '../locked.route.js';
import { CallProgress } from './call-progress.js';
import { type GolevelupDelivery, golevelupDeliveryOf } from './golevelup-consumers.js';
import type { RabbitMessage } from './rabbitmq-consumers.js';
import { isForNow, isNameless, isUncertainOutcome } from './refusals.js';
import { rabbitMessage } from './rpc-message.js';

/** `@RabbitSubscribe` and `@RabbitRPC` of `@golevelup/nestjs-rabbitmq`, which acknowledges and replies when they return. */
@Injectable()
export class GolevelupFace {
  private readonly logger = new Logger('Idempotency');

  constructor(@Inject(ValueRunner) private readonly runner: ValueRunner) {}

  /** @throws what the error handler of golevelup is to have; never for what comes again later. */
  async handle(
    context: ExecutionContext,
    next: CallHandler,
    route: IdempotentRoute,
    target: Function,
  ): Promise<Observable<unknown>> {
    const call = golevelupCall(context, route.scope);
    const progress = new CallProgress(this.runner, this.logger);
    const work = () => lastValueFrom(next.handle(), { defaultValue: undefined });
    try {
      return of(await progress.run(route, call, target, work));
    } catch (error) {
      const delivery = golevelupDeliveryOf(call.request as object);
      if (delivery && (await this.settles(delivery, error, progress, route))) return of(undefined);
      throw error;
    }
  }

  /** Messages of a handler that takes a lock and has no key: one that did not get the lock is put back. */
  handleLocked(context: ExecutionContext, next: CallHandler, route: LockedRoute): Observable<unknown> {
    const [, message] = context.getArgs<[unknown, RabbitMessage]>();
    const failed = async (error: unknown): Promise<undefined> => {
      const delivery = golevelupDeliveryOf(message);
      if (!delivery || !isForNow(error)) {
        if (isNameless(error)) delivery?.insteadOfRequeue(() => this.rejects(delivery, error, route.label));
        throw error;
      }
      await delivery.putBack(route.redeliveryDelayMs);
    };
    return next.handle().pipe(catchError(failed));
  }

  private rejects(delivery: GolevelupDelivery, error: unknown, label: string): void {
    this.logger.warn(`A message for ${label} was rejected: ${String(error)}`);
    delivery.reject();
  }

  /** @returns true when nobody is to hear of the error: the message comes again, or it was done before. */
  private async settles(
    delivery: GolevelupDelivery,
    error: unknown,
    { frame, isIdentified, isUnrecorded }: CallProgress,
    { label, policy }: IdempotentRoute,
  ): Promise<boolean> {
    const isRefusal = error instanceof IdempotencyError;
    const putBack = () => delivery.putBack(policy.redeliveryDelayMs);
    const isUncertain = isUncertainOutcome(error);
    if (isForNow(error) || (isUncertain && !delivery.isRequest) || isUnrecorded) {
      await putBack();
      return true;
    }
    if (isUncertain) delivery.insteadOfRequeue(putBack);
    if (isUncertain || frame || !(isIdentified || isRefusal)) return false;
    const isRecorded = isIdentified && (!isRefusal || error.code === 'response-not-replayable');
    if (isRecorded && !delivery.isRequest) return true;
    delivery.insteadOfRequeue(() => this.rejects(delivery, error, label));
    return false;
  }
}

/** A message as a call. `request` is the message as amqplib gives it. */
export function golevelupCall(context: ExecutionContext, scope: string): IdempotentCall {
  const [payload, message] = context.getArgs<[unknown, RabbitMessage]>();
  const { headers, messageId } = rabbitMessage(message);
  const args = context.getArgs();
  return localCall({ transport: 'rpc', scope, payload, args, request: message, headers, messageId });
}

/** @throws IdempotencyOptionsError for a batch: it has no key, each of its messages has one. */
export function checkSubscription(label: string, method: Function): void {
  const key: unknown = Reflect.getMetadataKeys(method).find(
    (name: unknown) => typeof name === 'symbol' && name.description === 'RABBIT_HANDLER',
  );
  const config = Object(key && Reflect.getMetadata(key, method)) as { batchOptions?: unknown };
  if (!config.batchOptions) return;
  throw new IdempotencyOptionsError(
    `@Idempotent on ${label}: a batch of messages has no key of its own; give each message to a method with @Idempotent, or to ` +
      'IdempotencyService.run',
  );
}
