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
export const FIELDS = 14;

/** Lua: leaves the record of `KEYS[1]` in `row`, or nothing, and the milliseconds it has left in `left`; -1 is for ever. */
export const READ = `
local packed = redis.call('GET', KEYS[1])
local row = packed and cmsgpack.unpack(packed)
local left = row and redis.call('PTTL', KEYS[1])`;

/** Lua: leaves in `owns` whether `ARGV[1]` owns `row` and has neither settled it nor lost track of it. */
export const OWNS = `
${READ}
local owns = row and row[1] == 'running' and row[3] == ARGV[1] and left ~= -1`;
