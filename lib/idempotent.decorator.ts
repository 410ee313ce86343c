import 'reflect-metadata';
import { createParamDecorator } from '@nestjs/common';
import type { IdempotentCall } from './idempotency.call.js';
import { IdempotencyOptionsError } from './idempotency.errors.js';
import { frames } from './idempotency.frame.js';
import type { IdempotentOptions } from './idempotency.options.js';
import { callManaged } from './idempotency.managed.js';
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

const IDEMPOTENT = Symbol('nestjs-idempotent:idempotent');

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
    const original: unknown = descriptor?.value;
    const label = `${target.constructor.name}.${String(property)}`;
    if (typeof original !== 'function') {
      throw new IdempotencyOptionsError(`@Idempotent on ${label}: put it on a method`);
    }
    const hasKey = typeof first === 'string' || typeof first === 'function';
    const key = hasKey ? first : undefined;
    const options = (hasKey ? second : first) ?? {};
    const metadata: IdempotentMetadata = { key, template: compile(key, label), options };
    descriptor.value = tracked(original as (...args: unknown[]) => unknown, metadata);
    return descriptor;
  };
}

/** Gives a handler the `IdempotencyContext` of its call. */
export const IdempotencyCtx = createParamDecorator(() => frames.getStore()?.context);

/** What `@Idempotent` left on a method, if anything. */
export function idempotentMetadata(method: unknown): IdempotentMetadata | undefined {
  return typeof method === 'function'
    ? (Reflect.getMetadata(IDEMPOTENT, method) as IdempotentMetadata | undefined)
    : undefined;
}

function compile(key: string | KeyFunction | undefined, label: string): KeyMaker | undefined {
  if (typeof key !== 'string') return undefined;
  try {
    return compileKeyTemplate(key);
  } catch (error) {
    throw new IdempotencyOptionsError(`@Idempotent on ${label}: ${(error as Error).message}`);
  }
}

/**
 * The method as Nest and everybody else calls it. On the way through the interceptor it only reports when its
 * body begins and ends; called in any other way it is a call of its own.
 */
function tracked(original: (...args: unknown[]) => unknown, metadata: IdempotentMetadata) {
  function method(this: object, ...args: unknown[]): unknown {
    const frame = frames.getStore();
    const body = () => original.apply(this, args);
    if (frame?.target === method && frame.isOpen) return frame.enter(body);
    return callManaged(this, method, args, body);
  }
  // Nest and other decorators read name, length and metadata from the function they find.
  Object.defineProperty(method, 'name', { value: original.name, configurable: true });
  Object.defineProperty(method, 'length', { value: original.length, configurable: true });
  for (const name of Reflect.getMetadataKeys(original)) {
    Reflect.defineMetadata(name, Reflect.getMetadata(name, original), method);
  }
  Reflect.defineMetadata(IDEMPOTENT, metadata, method);
  return method;
}
