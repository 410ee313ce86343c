import { createHash } from 'node:crypto';

/** A Lua script and the digest Redis knows it by once it has seen it. */
export class Script {
  readonly sha1: string;

  constructor(readonly lua: string) {
    this.sha1 = createHash('sha1').update(lua).digest('hex');
  }
}

/**
 * Lua: leaves the next fence in `fence`. `KEYS[2]` holds the last one given out.
 *
 * The server's time in microseconds (below 2^53 until the year 2255), or one more than the last: it grows
 * when the clock steps back, and also when the last one was lost by a flush, a restart or a failover.
 */
export const NEXT_FENCE = `
local time = redis.call('TIME')
local fence = time[1] * 1000000 + time[2]
local last = tonumber(redis.call('GETSET', KEYS[2], fence))
if last and last >= fence then
  fence = last + 1
  redis.call('SET', KEYS[2], fence)
end`;

/**
 * Lua: a write that changes nothing and is harmless on any string. Stands before every "not yours": a
 * replica, whose news may be old, has to refuse with READONLY here instead of telling it.
 */
export const ASSERT_PRIMARY = `redis.call('SETRANGE', KEYS[1], 0, '')`;

/**
 * Lua: wakes who watches `KEYS[1]`; the channel has the key's name. `pcall`, because it comes after the
 * work is done, and a user without permission for channels has to do without wake-ups.
 */
export const WAKE = `redis.pcall('PUBLISH', KEYS[1], '')`;
