import type { ListedRecord } from '../act.js';
import type { StoredRecord } from '../result-store.js';

/*
 * A record is one string, a MessagePack array (a hash would take thrice the memory and longer):
 *
 *   1 'running' or 'completed'   2 attempt         3 token, false once released   4 fence
 *   5 retention in ms of a row without result      6 fingerprint    7 scope       8 key
 *   9 created at   10 completed at   11 expires at   12 status   13 headers, JSON   14 body   (or false each)
 *   15 recorded steps, while it is running: a list of { name, position, result, attempt, completed at }
 *
 * The expiry of the key tells the rest, so that a lease is renewed and a row made uncertain without writing
 * it, which works also when Redis is out of memory:
 *
 *   a lease has what is beyond the retention of a row without result left; a running row that never expires
 *   is uncertain.
 */
/** Of a record as it is told: without its steps. */
const FIELDS = 14;
/** Without the answer. */
export const LISTED_FIELDS = 11;

/** Lua: leaves the record of `KEYS[1]` in `row`, or nothing, and the milliseconds it has left in `left`; -1 is for ever. */
export const READ = `
local packed = redis.call('GET', KEYS[1])
local row = packed and cmsgpack.unpack(packed)
local left = row and redis.call('PTTL', KEYS[1])`;

/** Lua: leaves in `owns` whether `ARGV[1]` owns `row` and has neither settled it nor lost track of it. */
export const OWNS = `
${READ}
local owns = row and row[1] == 'running' and row[3] == ARGV[1] and left ~= -1`;

/** Lua: ends the script with 0 and the record, as `recordOf` reads it. */
export const ANSWER_RECORD = `return {0, left, unpack(row, 1, ${FIELDS})}`;

/** Reads the answer of a script: 0, milliseconds left, the fields of the record. */
export function recordOf(id: string, reply: unknown[]): StoredRecord {
  const record = listedRecordOf(id, reply);
  const [status, headers, body] = reply.slice(2 + LISTED_FIELDS);
  const response =
    record.state === 'completed'
      ? { status: numberOrNull(status), headers: JSON.parse(text(headers)), body: body as Buffer | null }
      : null;
  return { ...record, response };
}

/** The same without the answer, for which the first fields are enough. */
export function listedRecordOf(id: string, [, left, ...fields]: unknown[]): ListedRecord {
  const [state, attempt, token, , retentionMs, fingerprint, scope, key, ...times] = fields;
  const [createdAt, completedAt, expiresAt] = times;
  const isCompleted = text(state) === 'completed';
  const isUncertain = !isCompleted && Number(left) === -1;
  const isOwned = !isCompleted && !isUncertain && token !== null;
  return {
    id,
    scope: text(scope),
    key: text(key),
    fingerprint: text(fingerprint),
    state: isCompleted ? 'completed' : isUncertain ? 'uncertain' : 'running',
    attempt: Number(attempt),
    token: token === null ? null : text(token),
    leaseRemainingMs: isOwned ? Math.max(0, Number(left) - Number(retentionMs)) : 0,
    createdAt: Number(createdAt),
    completedAt: numberOrNull(completedAt),
    expiresAt: numberOrNull(expiresAt),
  };
}

export function text(value: unknown): string {
  return (value as Buffer).toString();
}

/** With `stringNumbers` ioredis gives integers as text. */
function numberOrNull(value: unknown): number | null {
  return value === null ? null : Number(value);
}

/** ioredis sends only a Buffer as bytes. */
export function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
