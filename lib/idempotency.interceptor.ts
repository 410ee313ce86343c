import {
  type CallHandler,
  type ExecutionContext,
  Inject,
  Injectable,
  type NestInterceptor,
} from '@nestjs/common';
import { lastValueFrom, type Observable, of } from 'rxjs';
import { decoratedMethod } from './decorated-method.js';
import { type IdempotentCall, localCall } from './idempotency.call.js';
import { IdempotencyExplorer } from './idempotency.explorer.js';
import { ValueRunner } from './idempotency.runner.js';
import type { IdempotentRoute } from './idempotency.route.js';
import type { LockedMetadata } from './locked.decorator.js';
import { handling } from './locked.call.js';
import { graphqlField } from './transports/graphql-call.js';
import { GraphqlFace } from './transports/graphql-face.js';
import { GolevelupFace, golevelupCall } from './transports/golevelup-face.js';
import { HttpCall } from './transports/http-exchange.js';
import { HttpFace } from './transports/http-face.js';
import { RpcFace } from './transports/rpc-face.js';
import { rpcCall } from './transports/rpc-message.js';
import { websocketCall } from './transports/websocket-call.js';
import { WebsocketFace } from './transports/websocket-face.js';

/** Global: sees a call before the interceptors of classes and methods, and after all guards. */
@Injectable()
export class IdempotencyInterceptor implements NestInterceptor {
  constructor(
    @Inject(IdempotencyExplorer) private readonly explorer: IdempotencyExplorer,
    @Inject(HttpFace) private readonly http: HttpFace,
    @Inject(RpcFace) private readonly rpc: RpcFace,
    @Inject(GraphqlFace) private readonly graphql: GraphqlFace,
    @Inject(GolevelupFace) private readonly golevelup: GolevelupFace,
    @Inject(WebsocketFace) private readonly ws: WebsocketFace,
    @Inject(ValueRunner) private readonly runner: ValueRunner,
  ) {}

  intercept(
    context: ExecutionContext,
    next: CallHandler,
  ): Observable<unknown> | Promise<Observable<unknown>> {
    const handler = handlerOf(context);
    const route = this.explorer.routeOf(context.getClass(), handler);
    const locked = this.explorer.lockedOf(handler);
    if (locked) return this.interceptLocked(context, next, locked, route);
    return route ? this.protect(context, next, route) : next.handle();
  }

  private protect(
    context: ExecutionContext,
    next: CallHandler,
    route: IdempotentRoute,
  ): Observable<unknown> | Promise<Observable<unknown>> {
    if (context.getType() === 'http') return this.http.handle(context, next, route);
    if (context.getType() === 'rpc') return this.rpc.handle(context, next, route);
    if (context.getType() === 'ws') return this.ws.handle(context, next, route);
    if (context.getType<string>() === 'graphql') return this.graphql.handle(context, next, route);
    if (context.getType<string>() === GOLEVELUP) {
      return this.golevelup.handle(context, next, route, handlerOf(context));
    }
    const work = () => lastValueFrom(next.handle(), { defaultValue: undefined });
    return this.runner
      .runRoute(route, messageCall(context, route.scope), context.getHandler(), work)
      .then((value) => of(value));
  }

  /** The lock itself is taken by the method; here it gets to know the call, and refusals get their headers. */
  private interceptLocked(
    context: ExecutionContext,
    next: CallHandler,
    locked: LockedMetadata,
    route: IdempotentRoute | undefined,
  ): Observable<unknown> | Promise<Observable<unknown>> {
    const isHttp = context.getType() === 'http';
    const scope = `${context.getClass().name}.${handlerOf(context).name}`;
    const call = isHttp ? httpCall(context, scope) : messageCall(context, scope);
    const inner: CallHandler = { handle: () => handling(locked, call, () => next.handle()) };
    if (route) return this.protect(context, inner, route);
    if (isHttp) return this.http.refusable(context, inner.handle());
    if (call.transport === 'ws') return this.ws.refusable(context, inner.handle());
    if (call.transport === 'graphql') return this.graphql.refusable(inner.handle());
    if (call.transport !== 'rpc') return inner.handle();
    const face = context.getType<string>() === GOLEVELUP ? this.golevelup : this.rpc;
    const handler = handlerOf(context);
    return face.handleLocked(
      context,
      inner,
      this.explorer.lockedRouteOf(locked, context.getClass(), handler),
    );
  }
}

/** What a context of `@golevelup/nestjs-rabbitmq` is called; its handlers are bound. */
const GOLEVELUP = 'rmq';

function handlerOf(context: ExecutionContext): Function {
  const handler = context.getHandler();
  return context.getType<string>() === GOLEVELUP ? decoratedMethod(handler) : handler;
}

function httpCall(context: ExecutionContext, scope: string): IdempotentCall {
  return new HttpCall(context.switchToHttp().getRequest(), scope);
}

function messageCall(context: ExecutionContext, scope: string): IdempotentCall {
  if (context.getType<string>() === GOLEVELUP) return golevelupCall(context, scope);
  const transport = context.getType<IdempotentCall['transport']>();
  if (transport === 'rpc') return rpcCall(context, scope);
  if (transport === 'graphql') return graphqlField(context, scope).call;
  if (transport === 'ws') return websocketCall(context, scope);
  return localCall({ transport, scope, payload: context.switchToRpc().getData(), args: context.getArgs() });
}
