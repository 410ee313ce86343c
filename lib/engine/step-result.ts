/** What a recorded step says: its value, nothing (undefined), or why its value could not be kept. */
type Envelope = { readonly value?: unknown } | { readonly lost: string };

/**
 * The JSON of a step's result. Refuses what would come back as something else on a later attempt, instead of letting
 * the first attempt see a `Date` and the second one a string.
 *
 * @throws TypeError naming the place of the value that JSON cannot hold, and the fix.
 */
export function encodeResult(value: unknown): string {
  if (value === undefined) return '{}';
  check(value, 'result', []);
  return JSON.stringify({ value } satisfies Envelope);
}

/** Recorded for work that is done although its result cannot be kept: it is not to be done again. */
export function encodeLost(why: string): string {
  return JSON.stringify({ lost: why } satisfies Envelope);
}

export function decodeResult(json: string): { readonly value: unknown } | { readonly lost: string } {
  const envelope = JSON.parse(json) as Envelope;
  return 'lost' in envelope ? envelope : { value: envelope.value };
}

function check(value: unknown, path: string, ancestors: readonly object[]): void {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return;
    case 'number':
      if (!Number.isFinite(value)) throw unfit(path, String(value), 'return null or a text in its place');
      return;
    case 'bigint':
      throw unfit(path, 'a bigint', 'return value.toString()');
    case 'object':
      if (value !== null) checkObject(value, path, ancestors);
      return;
    default:
      throw unfit(path, value === undefined ? 'undefined' : `a ${typeof value}`, 'return data only');
  }
}

function checkObject(value: object, path: string, ancestors: readonly object[]): void {
  if (ancestors.includes(value)) throw unfit(path, 'a part of itself', 'return data without cycles');
  const below = [...ancestors, value];
  if (Array.isArray(value)) {
    value.forEach((item, i) => check(item, `${path}[${i}]`, below));
    return;
  }
  // What says its own JSON (Date, Decimal), and containers whose content JSON does not see (Map, Buffer).
  const isFields = Object.prototype.toString.call(value) === '[object Object]' && !('toJSON' in value);
  if (!isFields) {
    const fix = value instanceof Date ? 'return date.toISOString()' : 'return its data as plain fields';
    throw unfit(path, `a ${value.constructor?.name ?? 'special object'}`, fix);
  }
  for (const [name, field] of Object.entries(value)) {
    // Left out, as by JSON: it reads as undefined again.
    if (field !== undefined) check(field, `${path}.${name}`, below);
  }
}

function unfit(path: string, what: string, fix: string): TypeError {
  return new TypeError(`${path} is ${what}, which JSON cannot hold; ${fix}`);
}
