import { IdempotencyError } from '../idempotency.errors.js';

/** Longest key accepted, in characters. */
export const MAX_KEY_LENGTH = 255;

/**
 * Reads the `Idempotency-Key` header: an RFC 8941 String (`"abc"`, as draft-ietf-httpapi-idempotency-key-header
 * asks for) or the bare form most clients send (`abc`). Both are one key.
 *
 * @returns the key, or undefined when there is no header.
 * @throws IdempotencyError `key-invalid` when it is empty, too long, a list, repeated, or has control characters.
 */
export function keyFromHeader(value: string | string[] | undefined): string | undefined {
  if (value === undefined) return undefined;
  if (Array.isArray(value)) throw invalid('it was sent more than once');
  // Not trim(): bytes of UTF-8 that are blanks in Latin-1 belong to the key.
  const text = decodeUtf8(value.replaceAll(/^[ \t]+|[ \t]+$/g, ''));
  const key = text.startsWith('"') ? unquote(text) : text;
  // Node joins repeated lines with a comma, so a bare comma is a list or a repeated header.
  if (!text.startsWith('"') && text.includes(',')) throw invalid('a list, or sent more than once');
  return checkKey(key);
}

/**
 * Reads a key that came as a field of a message or a request, where it has no quotes and no other encoding.
 *
 * @throws IdempotencyError `key-invalid`.
 */
export function keyFromField(value: unknown): string {
  if (typeof value !== 'string')
    throw invalid(`it is ${value === null ? 'null' : `a ${typeof value}`}, not a text`);
  return checkKey(value);
}

/**
 * @returns the key as given.
 * @throws IdempotencyError `key-invalid` when it is empty, longer than 255 characters or has control characters.
 */
export function checkKey(key: string): string {
  if (key === '') throw invalid('it is empty');
  if (key.length > MAX_KEY_LENGTH)
    throw invalid(`it has ${key.length} characters; at most ${MAX_KEY_LENGTH} are allowed`);
  if (hasControlCharacters(key)) throw invalid('it has control characters');
  // As bytes they would all be the same.
  if (/\p{Surrogate}/u.test(key)) throw invalid('it has halves of characters (unpaired surrogates)');
  return key;
}

/** Parameters (`"abc";v=1`) mean nothing here, but what is no parameter is a list, or not well-formed. */
const QUOTED = /^"((?:[^"\\]|\\["\\])*)"(?: *; *[a-z*][\w.*-]*(?:=(?:"(?:[^"\\]|\\["\\])*"|[^" ,;]+))?)*$/s;

function unquote(text: string): string {
  const match = QUOTED.exec(text);
  if (!match) throw invalid('a quoted key must be one string in double quotes');
  return match[1]!.replaceAll(/\\(["\\])/g, '$1');
}

/** Node hands header bytes over as Latin-1; clients send UTF-8. */
function decodeUtf8(text: string): string {
  if (/^[\x00-\x7f]*$/.test(text)) return text;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(text, 'latin1'));
  } catch {
    return text; // really Latin-1
  }
}

function hasControlCharacters(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || code === 0x7f) return true;
  }
  return false;
}

function invalid(why: string): IdempotencyError {
  return new IdempotencyError('key-invalid', { detail: `The key is not usable: ${why}.` });
}
