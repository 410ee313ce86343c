import { IdempotencyError, IdempotencyOptionsError } from '../idempotency.errors.js';
import { checkKey } from './key-header.js';

/** Makes the key of a call from what the call carries; undefined when the call has none. */
export type KeyMaker = (call: object) => string | undefined;

interface Placeholder {
  readonly path: readonly string[];
  readonly text: string;
}

/**
 * Compiles a key template such as `refund:{body.orderId}` or `close:{args.0}`.
 *
 * Where a template has several values, the punctuation between them is escaped inside the values, so that two
 * different calls never make one key (`{a}:{b}` with `1:2` and `3`, or with `1` and `2:3`).
 *
 * @throws IdempotencyOptionsError at start-up: no placeholder (one key for all calls), braces that do not
 * match, or two placeholders with no punctuation between them.
 */
export function compileKeyTemplate(template: string): KeyMaker {
  const { literals, placeholders } = parse(template);
  const separators = checkSeparators(template, literals);
  const escape = separators && new RegExp(`[%${separators.replaceAll(/[\]\\^-]/g, '\\$&')}]`, 'gu');
  return (call) => {
    let key = literals[0]!;
    for (const [i, placeholder] of placeholders.entries()) {
      const value = valueAt(call, placeholder);
      if (value === undefined) return undefined;
      key += (escape ? value.replaceAll(escape, percentEncode) : value) + literals[i + 1]!;
    }
    return checkKey(key);
  };
}

/** Says which values of a template a call lacks, for the message of the refusal. */
export function missingIn(template: string, call: object): string {
  return parse(template)
    .placeholders.filter(({ path }) => isMissing(lookUp(call, path)))
    .map(({ text }) => `{${text}}`)
    .join(', ');
}

function parse(template: string): { literals: string[]; placeholders: Placeholder[] } {
  const parts = template.split(/\{([^{}]*)\}/);
  const literals = parts.filter((_, i) => i % 2 === 0);
  const placeholders = parts.filter((_, i) => i % 2 === 1).map((text) => ({ text, path: text.split('.') }));
  const wrong =
    literals.some((literal) => /[{}]/.test(literal)) || placeholders.some(({ path }) => path.includes(''));
  if (wrong) {
    throw new IdempotencyOptionsError(
      `Key template "${template}": write placeholders as {body.orderId}, in pairs of braces`,
    );
  }
  if (placeholders.length === 0) {
    throw new IdempotencyOptionsError(
      `Key template "${template}" has no placeholder: it would be one key for all calls. ` +
        'Name what tells operations apart, for example "refund:{body.orderId}"',
    );
  }
  return { literals, placeholders };
}

/** @returns the punctuation that stands between placeholders, or '' where there is one placeholder only. */
function checkSeparators(template: string, literals: readonly string[]): string {
  let separators = '';
  for (const literal of literals.slice(1, -1)) {
    const punctuation = literal.replaceAll(/[\p{L}\p{N}\s%]/gu, '');
    if (punctuation === '') {
      throw new IdempotencyOptionsError(
        `Key template "${template}": put punctuation between two placeholders, for example "{user.id}:{body.orderId}"; ` +
          'without it different values could make one key',
      );
    }
    separators += punctuation;
  }
  return separators;
}

function valueAt(call: object, { path, text }: Placeholder): string | undefined {
  const value = lookUp(call, path);
  if (isMissing(value)) return undefined;
  if (typeof value === 'string') return value;
  if (typeof value === 'bigint' || typeof value === 'boolean' || Number.isFinite(value)) return String(value);
  throw new IdempotencyError('key-invalid', { detail: `{${text}} must be a text or a number.` });
}

function lookUp(call: object, path: readonly string[]): unknown {
  let value: unknown = call;
  for (const name of path) {
    if (value === null || value === undefined) return undefined;
    value = (Object(value) as Record<string, unknown>)[name];
  }
  return value;
}

function isMissing(value: unknown): boolean {
  return value === null || value === undefined || value === '';
}

function percentEncode(character: string): string {
  return encodeURIComponent(character) === character
    ? `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
    : encodeURIComponent(character);
}
