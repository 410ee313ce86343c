import {
  type CallHandler,
  type ExecutionContext,
  Inject,
  Injectable,
  Logger,
  type OnModuleInit,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { Observable, of, tap } from 'rxjs';
import { type Begun, IdempotencyEngine } from '../engine/engine.js';
import type { Ownership } from '../engine/ownership.js';
import type { CallIdentity } from '../engine/policy.js';
import { IdempotencyContext } from '../idempotency.context.js';
import { IdempotencyError } from '../idempotency.errors.js';
import { CallFrame, frames } from '../idempotency.frame.js';
import { ReconcileHooks } from '../idempotency.reconcile.js';
import type { IdempotentRoute } from '../idempotency.route.js';
import { decodeOutcome } from '../idempotency.value.js';
import { ExpressExchange } from './express-exchange.js';
import { FastifyExchange, type FastifyLike } from './fastify-exchange.js';
import {
  HttpCall,
  type HttpExchange,
  isStreaming,
  problemHeaders,
  REPLAYED_HEADER,
} from './http-exchange.js';
import { HttpSettlement, RenderedReplay } from './http-settlement.js';

/** Marks an answer of a call that ran without protection (`onUnavailable: 'run'`). */
const STATUS_HEADER = 'Idempotency-Status';

/** HTTP calls: claim, run, hold the answer back until it is stored, replay. */
@Injectable()
export class HttpFace implements OnModuleInit {
  private readonly logger = new Logger('Idempotency');

  constructor(
    @Inject(HttpAdapterHost) private readonly host: HttpAdapterHost,
    @Inject(IdempotencyEngine) private readonly engine: IdempotencyEngine,
    @Inject(ReconcileHooks) private readonly hooks: ReconcileHooks,
  ) {
    // Here already, if the app has its adapter by now: before the hooks that `main.ts` adds.
    this.installHook();
  }

  onModuleInit(): void {
    // Routes are registered after this, so the hook is in force for all of them.
    this.installHook();
  }

  /** @throws IdempotencyError when the call is refused; the headers of the refusal are then set already. */
  async handle(
    context: ExecutionContext,
    next: CallHandler,
    route: IdempotentRoute,
  ): Promise<Observable<unknown>> {
    const exchange = this.exchangeOf(context);
    const call = new HttpCall(context.switchToHttp().getRequest(), route.scope);
    let identity: CallIdentity | null;
    let begun: Begun;
    try {
      identity = await route.identify(call);
      const findOut = identity ? this.hooks.of(identity, route.policy, call) : undefined;
      begun = identity ? await this.engine.begin(identity, route.policy, findOut) : { kind: 'unprotected' };
    } catch (error) {
      if (error instanceof IdempotencyError) setHeaders(exchange, problemHeaders(error));
      throw error;
    }
    if (!identity || begun.kind === 'unprotected') {
      if (identity) exchange.setHeader(STATUS_HEADER, 'unprotected');
      const frame = this.frame(context, route, identity, null);
      return frames.run(frame, () => next.handle());
    }
    if (begun.kind === 'run') {
      const { ownership } = begun;
      const frame = this.frame(context, route, identity, ownership);
      const settlement = new HttpSettlement(frame, ownership, route, call, (message) =>
        this.logger.error(message),
      );
      exchange.capture(route.policy.maxResponseBytes, settlement);
      return watched(
        frames.run(frame, () => next.handle()),
        settlement,
        exchange,
      );
    }
    if (begun.response.status !== null) {
      await exchange.replay(begun.response);
      // A value for interceptors further out; what becomes of it is not sent.
      return of(undefined);
    }
    return this.render(context, next, route, exchange, identity, begun);
  }

  /** An answer that is not held back: only gives refusals that come out of it their headers. */
  refusable(context: ExecutionContext, answer$: Observable<unknown>): Observable<unknown> {
    const exchange = this.exchangeOf(context);
    return answer$.pipe(
      tap({
        error: (error: unknown) => {
          if (error instanceof IdempotencyError) setHeaders(exchange, problemHeaders(error));
        },
      }),
    );
  }

  private frame(
    context: ExecutionContext,
    { policy }: IdempotentRoute,
    identity: CallIdentity | null,
    ownership: Ownership | null,
  ): CallFrame {
    const user = new IdempotencyContext(identity, ownership, this.engine.store);
    const transaction = this.engine.transactionOf(policy, ownership, user);
    return new CallFrame(context.getHandler(), user, undefined, transaction);
  }

  /** A value that was recorded without ever having been sent: made into an answer now, and recorded as that. */
  private render(
    context: ExecutionContext,
    next: CallHandler,
    route: IdempotentRoute,
    exchange: HttpExchange,
    identity: CallIdentity,
    { response, token }: Begun & { kind: 'replay' },
  ): Observable<unknown> {
    const frame = new CallFrame(
      context.getHandler(),
      new IdempotencyContext(identity, null),
      decodeOutcome(response),
    );
    exchange.setHeader(REPLAYED_HEADER, 'true');
    const record = (rendered: typeof response) =>
      this.engine.replaceAnswer(identity, route.policy, token, rendered);
    exchange.capture(route.policy.maxResponseBytes, new RenderedReplay(frame, route, record));
    return frames.run(frame, () => next.handle());
  }

  private exchangeOf(context: ExecutionContext): HttpExchange {
    const response: never = context.switchToHttp().getResponse();
    return this.isFastify ? new FastifyExchange(response) : new ExpressExchange(response);
  }

  private installHook(): void {
    if (this.isFastify) FastifyExchange.install(this.host.httpAdapter.getInstance<FastifyLike>());
  }

  /** False also in an app without HTTP. */
  private get isFastify(): boolean {
    return this.host.httpAdapter?.getType() === 'fastify';
  }
}

/**
 * Tells the settlement when somebody stops listening while the body still runs, and the exchange of streams and
 * of refusals that come out of the body (`assertHeld`, a nested call).
 */
function watched(
  answer$: Observable<unknown>,
  settlement: HttpSettlement,
  exchange: HttpExchange,
): Observable<unknown> {
  return new Observable((subscriber) => {
    subscriber.add(() => settlement.abandonIfRunning());
    return answer$.subscribe({
      next: (value) => {
        if (isStreaming(value)) exchange.shield();
        subscriber.next(value);
      },
      error: (error: unknown) => {
        if (error instanceof IdempotencyError) setHeaders(exchange, problemHeaders(error));
        settlement.abandonIfRunning();
        subscriber.error(error);
      },
      complete: () => subscriber.complete(),
    });
  });
}

function setHeaders(exchange: HttpExchange, headers: Record<string, string>): void {
  for (const [name, value] of Object.entries(headers)) exchange.setHeader(name, value);
}
