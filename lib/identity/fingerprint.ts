import { hash } from 'node:crypto';
import { IdempotencyOptionsError } from '../idempotency.errors.js';

/**
 * Hash of what must not change between retries. Equal data gives an equal hash whatever the order of keys in
 * objects (in the manner of RFC 8785); unlike JSON it tells dates, big integers, bytes, maps and sets apart
 * and survives circular data.
 *
 * @returns 64 hex digits.
 * @throws IdempotencyOptionsError for data that refers to the same objects all over (a request, a DataSource).
 */
export function fingerprintOf(data: unknown): string {
  return hash('sha256', new Walk().canonical(data));
}

/** How often objects may be met again. JSON has no such thing; in a web of objects it never ends. */
const MEETINGS = 100_000;

/** An object the walk is inside of. */
interface Level {
  readonly of: object;
  readonly names: readonly string[] | undefined;
  readonly values: readonly unknown[];
  readonly end: string;
  next: number;
}

/** With a stack of its own: a body may be nested deeper than calls can be. */
class Walk {
  private readonly levels: Level[] = [];
  private readonly depths = new Map<object, number>();
  private readonly met = new Set<object>();
  private meetings = 0;

  canonical(data: unknown): string {
    let text = this.enter(data);
    for (let level = this.levels.at(-1); level; level = this.levels.at(-1)) {
      if (level.next === level.values.length) {
        this.levels.pop();
        this.depths.delete(level.of);
        text += level.end;
        continue;
      }
      if (level.next > 0) text += ',';
      if (level.names) text += `${JSON.stringify(level.names[level.next])}:`;
      text += this.enter(level.values[level.next++]);
    }
    return text;
  }

  /** @returns the text of the value, or of its beginning when it is a level to walk through. */
  private enter(value: unknown): string {
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
        return value === null ? 'null' : this.enterObject(value);
    }
  }

  private enterObject(value: object): string {
    const depth = this.depths.get(value);
    if (depth !== undefined) return `^${this.levels.length - depth}`;
    if (value instanceof Date) return `date ${Number(value)}`;
    if (ArrayBuffer.isView(value)) {
      return `bytes ${hash('sha256', new Uint8Array(value.buffer, value.byteOffset, value.byteLength))}`;
    }
    if (this.met.size === this.met.add(value).size && ++this.meetings > MEETINGS) throw interlinked();
    if (Array.isArray(value)) return this.open('[', value, undefined, value, ']');
    if (value instanceof Map) return this.open('map[', value, undefined, [...value], ']');
    if (value instanceof Set) return this.open('set[', value, undefined, [...value], ']');
    const { toJSON } = value as { toJSON?: unknown };
    if (typeof toJSON === 'function') return this.open('', value, undefined, [toJSON.call(value)], '');
    const fields = value as Record<string, unknown>;
    // As in JSON: a field that is undefined is a field that is not there.
    const names = Object.keys(value)
      .filter((name) => fields[name] !== undefined)
      .sort();
    return this.open(
      '{',
      value,
      names,
      names.map((name) => fields[name]),
      '}',
    );
  }

  private open(
    begin: string,
    of: object,
    names: Level['names'],
    values: readonly unknown[],
    end: string,
  ): string {
    this.depths.set(of, this.levels.length);
    this.levels.push({ of, names, values, end, next: 0 });
    return begin;
  }
}

function interlinked(): IdempotencyOptionsError {
  return new IdempotencyOptionsError(
    'The fingerprint was to be made of objects that refer to each other all over (a request, a DataSource, an ' +
      'entity manager); select what must not change between retries: { fingerprint: ({ args }) => args[0] }',
  );
}
