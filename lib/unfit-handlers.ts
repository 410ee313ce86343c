import { SSE_METADATA } from '@nestjs/common/constants.js';
import { IdempotencyOptionsError } from './idempotency.errors.js';

/** Where `@Query`, `@Mutation` and `@Subscription` of `@nestjs/graphql` leave which of them it was. */
const RESOLVER_TYPE = 'graphql:resolver_type';

/** @throws IdempotencyOptionsError for a handler whose answer does not end. */
export function refuseEndless(method: Function, where: string): void {
  const kind = Reflect.hasMetadata(SSE_METADATA, method)
    ? 'an @Sse() stream'
    : Reflect.getMetadata(RESOLVER_TYPE, method) === 'Subscription' && 'a @Subscription()';
  if (!kind) return;
  throw new IdempotencyOptionsError(
    `${where}: ${kind} has no end that could be replayed or waited for; decorate the call that starts the work instead`,
  );
}
