import { type CallHandler, type ExecutionContext, Inject, Injectable } from '@nestjs/common';
import { catchError, lastValueFrom, type Observable, of, throwError } from 'rxjs';
import type { IdempotentRoute } from '../idempotency.route.js';
import { ValueRunner } from '../idempotency.runner.js';
import { asReplayed } from '../idempotency.value.js';
import { websocketCall } from './websocket-call.js';
import { wsError } from './websocket-exception.js';

/** Messages of gateways: claim, run, record, and reply what the handler returns, whether that is an event or acknowledges. */
@Injectable()
export class WebsocketFace {
  constructor(@Inject(ValueRunner) private readonly runner: ValueRunner) {}

  /** @throws WsException with the problem when the call is refused. */
  async handle(
    context: ExecutionContext,
    next: CallHandler,
    route: IdempotentRoute,
  ): Promise<Observable<unknown>> {
    const call = websocketCall(context, route.scope);
    const work = () => lastValueFrom(next.handle(), { defaultValue: undefined });
    try {
      return of(asReplayed(await this.runner.runRoute(route, call, context.getHandler(), work)));
    } catch (error) {
      throw wsError(error, context);
    }
  }

  /** Gives refusals that come out of an answer the form that clients get. */
  refusable(context: ExecutionContext, answer$: Observable<unknown>): Observable<unknown> {
    return answer$.pipe(catchError((error: unknown) => throwError(() => wsError(error, context))));
  }
}
