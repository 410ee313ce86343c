import type { IdempotentCall } from '../idempotency.call.js';
import { IdempotencyOptionsError } from '../idempotency.errors.js';
import type { KeyFunction } from '../idempotent.decorator.js';
import { checkKey } from './key-header.js';

/**
 * The key that a function makes of a call; undefined when it makes none.
 *
 * @param where names the decorator and its method.
 * @throws IdempotencyOptionsError when it makes something that is no text.
 * @throws IdempotencyError `key-invalid`.
 */
export async function keyMadeBy(
  make: KeyFunction,
  call: IdempotentCall,
  where: string,
): Promise<string | undefined> {
  const made: unknown = await make(call);
  if (made === undefined || made === null || made === '') return undefined;
  if (typeof made !== 'string') {
    throw new IdempotencyOptionsError(
      `${where}: the key function returned a ${typeof made}; it must return a string`,
    );
  }
  return checkKey(made);
}
