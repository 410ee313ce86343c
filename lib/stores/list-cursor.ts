import { IdempotencyOptionsError } from '../idempotency.errors.js';

type Parts<T extends readonly ('string' | 'number')[]> = {
  -readonly [K in keyof T]: T[K] extends 'string' ? string : number;
};

/** Text that a caller hands back as it is: where a page of a list ended. */
export function cursorOf(...parts: readonly (string | number)[]): string {
  return Buffer.from(JSON.stringify(parts)).toString('base64url');
}

/** @throws IdempotencyOptionsError when the text is not a cursor of such parts. */
export function partsOf<const T extends readonly ('string' | 'number')[]>(
  cursor: string,
  types: T,
): Parts<T> {
  let parts: unknown;
  try {
    parts = JSON.parse(Buffer.from(cursor, 'base64url').toString());
  } catch {
    parts = undefined;
  }
  const isRight =
    Array.isArray(parts) &&
    parts.length === types.length &&
    parts.every((part, i) => typeof part === types[i]);
  if (isRight) return parts as Parts<T>;
  throw new IdempotencyOptionsError(
    `list({ cursor }): cursor is ${JSON.stringify(cursor)}; it must be that of the page before, from the same store`,
  );
}
