import { createParamDecorator } from '@nestjs/common';
import { markMethod, marksOf } from './decorated-method.js';
import type { IdempotentCall } from './idempotency.call.js';
import { IdempotencyOptionsError } from './idempotency.errors.js';
import { frames } from './idempotency.frame.js';
import type { IdempotentOptions } from './idempotency.options.js';
import { compileKeyTemplate, type KeyMaker } from './identity/key-template.js';

export type KeyFunction = (
  call: IdempotentCall,
) => string | null | undefined | Promise<string | null | undefined>;

/** What the decorator leaves on a method. */
export interface IdempotentMetadata {
  /** undefined: the `Idempotency-Key` header. */
  readonly key: string | KeyFunction | undefined;
  readonly template: KeyMaker | undefined;
  readonly options: IdempotentOptions;
}

/**
 * Makes a handler, or any provider's method, run once per key; duplicates get the recorded answer.
 *
 * @example
 * ```ts
 * @Idempotent()                               // the Idempotency-Key header
 * @Idempotent('refund:{body.orderId}')        // a template; a missing value is a 400
 * @Idempotent(({ body, user }) => `${user.id}:${body.orderId}`)
 * @Idempotent('close:{args.0}')               // a provider's method
 * @Idempotent({ onConflict: 'wait' })         // the header, with options
 * ```
 * @param key a template, a function of the call, or nothing for the header.
 * @param options override those of the module for this handler. Durations are milliseconds.
 * @throws IdempotencyOptionsError at start-up when the template cannot be right.
 */
export function Idempotent(options?: IdempotentOptions): MethodDecorator;
export function Idempotent(key: string | KeyFunction, options?: IdempotentOptions): MethodDecorator;
export function Idempotent(
  first?: string | KeyFunction | IdempotentOptions,
  second?: IdempotentOptions,
): MethodDecorator {
  return (target, property, descriptor: PropertyDescriptor) => {
    const label = `${target.constructor.name}.${String(property)}`;
    const hasKey = typeof first === 'string' || typeof first === 'function';
    const key = hasKey ? first : undefined;
    const options = (hasKey ? second : first) ?? {};
    markMethod(descriptor, label, 'idempotent', { key, template: compile(key, label), options });
    return descriptor;
  };
}

/** Gives a handler the `IdempotencyContext` of its call. */
export const IdempotencyCtx = createParamDecorator(() => frames.getStore()?.context);

/** What `@Idempotent` left on a method, if anything. */
export function idempotentMetadata(method: unknown): IdempotentMetadata | undefined {
  return marksOf(method)?.idempotent;
}

function compile(key: string | KeyFunction | undefined, label: string): KeyMaker | undefined {
  if (typeof key !== 'string') return undefined;
  try {
    return compileKeyTemplate(key);
  } catch (error) {
    throw new IdempotencyOptionsError(`@Idempotent on ${label}: ${(error as Error).message}`);
  }
}
