import { hash } from 'node:crypto';

/** Changes when ids are made in another way, so that old and new never meet by accident. */
const NAMESPACE = 'nestjs-idempotent/1';

/**
 * The id of a record: SHA-256 over namespace, scope, principal and key, each with its length before it, so
 * that no two different tuples ever run into one. Fixed width: no collation, length or path matters.
 *
 * @param principal null: keys of this call are nobody's in particular. Differs from every principal, also ''.
 * @returns 64 hex digits.
 */
export function recordId(scope: string, principal: string | null, key: string): string {
  const owner = principal === null ? '-' : `${principal.length}:${principal}`;
  return hash('sha256', `${NAMESPACE}|${scope.length}:${scope}|${owner}|${key.length}:${key}`);
}
