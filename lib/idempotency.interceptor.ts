import {
  type CallHandler,
  type ExecutionContext,
  Inject,
  Injectable,
  type NestInterceptor,
} from '@nestjs/common';
import { lastValueFrom, type Observable, of } from 'rxjs';
import { type IdempotentCall, localCall } from './idempotency.call.js';
import { IdempotencyExplorer } from './idempotency.explorer.js';
import { ValueRunner } from './idempotency.runner.js';
import { HttpFace } from './transports/http-face.js';

/** Global: sees a call before the interceptors of classes and methods, and after all guards. */
@Injectable()
export class IdempotencyInterceptor implements NestInterceptor {
  constructor(
    @Inject(IdempotencyExplorer) private readonly explorer: IdempotencyExplorer,
    @Inject(HttpFace) private readonly http: HttpFace,
    @Inject(ValueRunner) private readonly runner: ValueRunner,
  ) {}

  intercept(
    context: ExecutionContext,
    next: CallHandler,
  ): Observable<unknown> | Promise<Observable<unknown>> {
    const handler = context.getHandler();
    const route = this.explorer.routeOf(context.getClass(), handler);
    if (!route) return next.handle();
    if (context.getType() === 'http') return this.http.handle(context, next, route);
    const work = () => lastValueFrom(next.handle(), { defaultValue: undefined });
    return this.runner
      .runRoute(route, messageCall(context, route.scope), handler, work)
      .then((value) => of(value));
  }
}

function messageCall(context: ExecutionContext, scope: string): IdempotentCall {
  const transport = context.getType<IdempotentCall['transport']>();
  const payload: unknown =
    transport === 'ws' ? context.switchToWs().getData() : context.switchToRpc().getData();
  return localCall({ transport, scope, payload, args: context.getArgs() });
}
