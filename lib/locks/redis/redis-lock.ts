import { KeySpace, wholeMs } from '../../redis/keys.js';
import { checkRedisOptions, type RedisClient } from '../../redis/redis-client.js';
import { connectionOf, type RedisConnection } from '../../redis/redis-connection.js';
import { ASSERT_PRIMARY, NEXT_FENCE, Script, WAKE } from '../../redis/script.js';
import { checkLockDelay, type LockDelayOptions } from '../lock-delay.js';
import {
  type AcquireAnswer,
  type ExtendAnswer,
  FENCE_LEAD_MS,
  LockDriver,
  type LockRef,
} from '../lock-driver.js';

export interface RedisLockOptions extends LockDelayOptions {
  /** An ioredis client, `Redis` or `Cluster`. You make it and you end it; it may be shared. */
  readonly client: RedisClient;
  /** What all keys begin with; without braces. Apps that share a server and no locks differ in it. @default 'idem:' */
  readonly keyPrefix?: string;
}

/**
 * KEYS: lock, last fence. ARGV: token, life in ms, least fence (may be missing). Answers the fence, or life
 * left and holder.
 */
const ACQUIRE = new Script(`
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  local holder = redis.call('GET', KEYS[1])
  if holder ~= ARGV[1] then
    return {redis.call('PTTL', KEYS[1]), holder}
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
${NEXT_FENCE}
local least = tonumber(ARGV[3] or 0)
if least > fence and least <= time[1] * 1000000 + time[2] + ${FENCE_LEAD_MS}000 then
  fence = least
  redis.call('SET', KEYS[2], fence)
end
return fence
`);

/**
 * A key outlives its lock by the delay, in which it is nobody's. Answers whether that has begun; without a delay
 * nothing is asked.
 */
const hasRunOut = (key: string, delayMs: number) =>
  delayMs === 0
    ? 'false'
    : `(function() local left = redis.call('PTTL', ${key}) return left >= 0 and left <= ${delayMs} end)()`;

/** KEYS: locks. ARGV: life of the keys in ms, then a token for each lock. Answers 1 or 0 for each. */
const extendScript = (delayMs: number) =>
  new Script(`
local answers = {}
for i = 1, #KEYS do
  if redis.call('GET', KEYS[i]) == ARGV[i + 1] and not ${hasRunOut('KEYS[i]', delayMs)} then
    answers[i] = redis.call('PEXPIRE', KEYS[i], ARGV[1])
  else
    ${ASSERT_PRIMARY}
    answers[i] = 0
  end
end
return answers
`);

/** KEYS: lock. ARGV: token. Answers 1 or 0. */
const releaseScript = (delayMs: number) =>
  new Script(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] or ${hasRunOut('KEYS[1]', delayMs)} then
  ${ASSERT_PRIMARY}
  return 0
end
redis.call('DEL', KEYS[1])
${WAKE}
return 1
`);

const EXTEND = extendScript(0);
const RELEASE = releaseScript(0);

/** KEYS: last fence. ARGV: fence. */
const RAISE_FENCE = new Script(`
local last = tonumber(redis.call('GET', KEYS[1]))
if not last or last < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1])
end
return 1
`);

/**
 * Locks in one Redis: https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/ ("Correct
 * implementation with a single instance"), with a fence and without being locked out by one's own lost reply.
 *
 * Excludes as long as that Redis keeps its memory: a restart without persistence and a failover to a replica
 * that had not got the lock yet give it away. Fences grow all the same.
 */
export class RedisLock extends LockDriver {
  readonly name = 'redis';
  private readonly connection: RedisConnection;
  private readonly keys: KeySpace;
  private readonly delayMs: number;
  private readonly extending: Script;
  private readonly releasing: Script;

  /** @throws TypeError when an option is not what it should be. */
  constructor(options: RedisLockOptions) {
    super();
    checkRedisOptions('redisLock', options);
    this.connection = connectionOf(options.client);
    this.keys = new KeySpace(options.keyPrefix);
    this.delayMs = checkLockDelay(options);
    this.extending = this.delayMs === 0 ? EXTEND : extendScript(this.delayMs);
    this.releasing = this.delayMs === 0 ? RELEASE : releaseScript(this.delayMs);
  }

  async acquire(name: string, token: string, ttlMs: number, leastFence?: bigint): Promise<AcquireAnswer> {
    const keys = [this.keys.key('lock', name), this.keys.fence(name)];
    const args = [token, this.keyLife(ttlMs), ...(leastFence === undefined ? [] : [String(leastFence)])];
    const reply = await this.connection.take(token, ACQUIRE, keys, args);
    if (!Array.isArray(reply)) return { acquired: true, fence: BigInt(reply as number | string) };
    const [left, holder] = reply as [number | string, Buffer];
    // Somebody removed its expiry: nobody can tell.
    const retryAfterMs = Number(left) < 0 ? ttlMs : Number(left);
    return { acquired: false, retryAfterMs, holder: holder.toString() };
  }

  async extend(locks: readonly LockRef[], ttlMs: number): Promise<ExtendAnswer[]> {
    const held = locks.map(({ name, token }) => ({ key: this.keys.key('lock', name), token }));
    return this.connection.runForAll(this.extending, held, this.keyLife(ttlMs));
  }

  async release(name: string, token: string): Promise<boolean> {
    const reply = await this.connection.giveBack(
      token,
      this.releasing,
      [this.keys.key('lock', name)],
      [token],
    );
    return Number(reply) === 1;
  }

  override async raiseFence(name: string, fence: bigint): Promise<void> {
    await this.connection.run(RAISE_FENCE, [this.keys.fence(name)], [String(fence)]);
  }

  override watch(name: string, wake: () => void): Promise<() => void> {
    return this.connection.watch(this.keys.key('lock', name), wake);
  }

  private keyLife(ttlMs: number): number {
    return wholeMs(ttlMs) + this.delayMs;
  }
}

/**
 * Locks in one Redis, by the client you give.
 *
 * @throws TypeError when an option is not what it should be.
 */
export function redisLock(options: RedisLockOptions): RedisLock {
  return new RedisLock(options);
}
