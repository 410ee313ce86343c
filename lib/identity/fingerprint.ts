import { hash } from 'node:crypto';

/**
 * Hash of what must not change between retries. Equal data gives an equal hash whatever the order of keys in
 * objects (in the manner of RFC 8785); unlike JSON it tells dates, big integers, bytes, maps and sets apart
 * and survives circular data.
 *
 * @returns 64 hex digits.
 */
export function fingerprintOf(data: unknown): string {
  return hash('sha256', canonical(data, []));
}

function canonical(value: unknown, above: object[]): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value);
    case 'number':
    case 'boolean':
      return Object.is(value, -0) ? '0' : String(value);
    case 'bigint':
      return `${value}n`;
    case 'undefined':
    case 'function':
    case 'symbol':
      return 'undefined';
    case 'object':
      return value === null ? 'null' : canonicalObject(value, above);
  }
}

function canonicalObject(value: object, above: object[]): string {
  const depth = above.lastIndexOf(value);
  if (depth >= 0) return `^${above.length - depth}`;
  const inside = [...above, value];
  if (Array.isArray(value)) return `[${value.map((item) => canonical(item, inside)).join(',')}]`;
  if (value instanceof Date) return `date ${Number(value)}`;
  if (ArrayBuffer.isView(value)) {
    return `bytes ${hash('sha256', new Uint8Array(value.buffer, value.byteOffset, value.byteLength))}`;
  }
  if (value instanceof Map) return `map ${canonical([...value], inside)}`;
  if (value instanceof Set) return `set ${canonical([...value], inside)}`;
  const { toJSON } = value as { toJSON?: unknown };
  if (typeof toJSON === 'function') return canonical(toJSON.call(value), inside);
  let text = '{';
  for (const name of Object.keys(value).sort()) {
    const field = (value as Record<string, unknown>)[name];
    // As in JSON: a field that is undefined is a field that is not there.
    if (field !== undefined) text += `${JSON.stringify(name)}:${canonical(field, inside)},`;
  }
  return `${text}}`;
}
