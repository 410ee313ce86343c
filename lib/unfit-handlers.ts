import { ROUTE_ARGS_METADATA, SSE_METADATA } from '@nestjs/common/constants.js';
import { IdempotencyOptionsError } from './idempotency.errors.js';

/** Where `@Query`, `@Mutation` and `@Subscription` of `@nestjs/graphql` leave which of them it was. */
const RESOLVER_TYPE = 'graphql:resolver_type';

/** What `@SubscribeMessage` of `@nestjs/websockets` leaves on a method, and `@Ack()` on its class: `13:<index>`. */
const SUBSCRIBED = 'websockets:message_mapping';
const ACK = /^13:/;

/** What `@MessagePattern` and `@EventPattern` of `@nestjs/microservices` leave on a method. */
const PATTERN = 'microservices:pattern';

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

/** @throws IdempotencyOptionsError for a handler of a gateway that acknowledges by hand. */
export function refuseManualAck(type: Function, method: Function, where: string): void {
  if (!Reflect.hasMetadata(SUBSCRIBED, method)) return;
  const parameters: unknown = Reflect.getMetadata(ROUTE_ARGS_METADATA, type, method.name);
  // Without decorators the parameters are client, data and acknowledgement.
  const takesAck = parameters ? Object.keys(parameters).some((name) => ACK.test(name)) : method.length > 2;
  if (!takesAck) return;
  throw new IdempotencyOptionsError(
    `${where}: it is given the acknowledgement (@Ack(), or a third parameter), and what it says by it cannot be replayed; ` +
      'return the answer instead, and it will be acknowledged with that',
  );
}

export function isMessageHandler(method: Function): boolean {
  return Reflect.hasMetadata(PATTERN, method);
}

/** A message has reached its handler without its interceptor, and with that lost what its key is made of. */
export function bypassed(where: string, cause: unknown): IdempotencyOptionsError {
  const message =
    `${where}: it was called without a key, as a message does that passes no interceptor of the application; connect ` +
    'the microservice by app.connectMicroservice(options, { inheritAppConfig: true })';
  return Object.assign(new IdempotencyOptionsError(message), { cause });
}
