import { type CallHandler, type ExecutionContext, Inject, Injectable } from '@nestjs/common';
import { catchError, lastValueFrom, type Observable, of, throwError } from 'rxjs';
import type { CallIdentity } from '../engine/policy.js';
import { IdempotencyError, LockLostError, LockNotAcquiredError } from '../idempotency.errors.js';
import type { IdempotentRoute } from '../idempotency.route.js';
import { ValueRunner } from '../idempotency.runner.js';
import { asReplayed } from '../idempotency.value.js';
import { type GraphqlField, graphqlField } from './graphql-call.js';

/**
 * Resolvers of `@nestjs/graphql`, which is not needed for it: claim, run, record what the resolver returns, and let the
 * fields be resolved of that. A refusal is an error of its field: the server takes its `extensions`.
 */
@Injectable()
export class GraphqlFace {
  /** Who has used the key of an operation, by the id of the record. */
  private readonly users = new WeakMap<object, Map<string, object>>();

  constructor(@Inject(ValueRunner) private readonly runner: ValueRunner) {}

  /** @throws IdempotencyError when the call is refused. */
  async handle(
    context: ExecutionContext,
    next: CallHandler,
    route: IdempotentRoute,
  ): Promise<Observable<unknown>> {
    const field = graphqlField(context, route.scope);
    const identity = await route.identify(field.call);
    if (identity && route.readsHeader) this.refuseSecond(field, identity);
    const work = () => lastValueFrom(next.handle(), { defaultValue: undefined });
    try {
      const value = await this.runner.runIdentified(identity, route, field.call, context.getHandler(), work);
      return of(asReplayed(value));
    } catch (error) {
      throw publicRefusal(error);
    }
  }

  /** Gives refusals that come out of an answer the form that callers get. */
  refusable(answer$: Observable<unknown>): Observable<unknown> {
    return answer$.pipe(catchError((error: unknown) => throwError(() => publicRefusal(error))));
  }

  /**
   * A key that comes with a whole request names one operation. Which of two fields of one scope it means nobody knows:
   * aliases and order are the client's to change.
   */
  private refuseSecond({ call, info, operation }: GraphqlField, { id }: CallIdentity): void {
    let users = this.users.get(operation);
    if (!users) this.users.set(operation, (users = new Map()));
    const user = users.get(id);
    if (!user) users.set(id, info);
    else if (user !== info) {
      throw new IdempotencyError('key-invalid', {
        detail:
          `Another field of this request has used the key of the request for the same operation as "${call.path}". ` +
          'Send them in requests of their own, or give each a key in its arguments.',
      });
    }
  }
}

/** The message of an error is sent to the caller, and that of a lock has its name, which is for logs. */
function publicRefusal(error: unknown): unknown {
  if (!(error instanceof LockNotAcquiredError || error instanceof LockLostError)) return error;
  const { code, problem, retryAfterMs } = error;
  const { detail } = problem;
  return new IdempotencyError(code, {
    cause: error,
    ...(detail === undefined ? {} : { detail }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}
