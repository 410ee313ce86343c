import { KeySpace, wholeMs } from '../../redis/keys.js';
import { checkRedisOptions, type RedisClient } from '../../redis/redis-client.js';
import { connectionOf, type RedisConnection } from '../../redis/redis-connection.js';
import { ASSERT_PRIMARY, NEXT_FENCE, Script, WAKE } from '../../redis/script.js';
import type { Act, ActAnswer, AuditEntry, ListPage, ListQuery } from '../act.js';
import {
  type ClaimAnswer,
  type ClaimRef,
  type ClaimRequest,
  ResultStore,
  type StoredRecord,
  type StoredResponse,
} from '../result-store.js';
import type { StepStore } from '../step-store.js';
import { ANSWER_RECORD, bufferOf, OWNS, READ, recordOf } from './record.js';
import { RedisOperator } from './redis-operator.js';
import { RedisSteps } from './redis-steps.js';

export interface RedisStoreOptions {
  /**
   * An ioredis client, `Redis` or `Cluster`. You make it and you end it; it may be shared.
   *
   * Results are as durable as that Redis: without `appendonly yes` a restart forgets them and what is repeated
   * then is done again, and with an eviction policy other than `noeviction` they vanish when memory is short.
   */
  readonly client: RedisClient;
  /** What all keys begin with; without braces. Apps that share a server and no keys differ in it. @default 'idem:' */
  readonly keyPrefix?: string;
}

/**
 * KEYS: record, last fence. ARGV: token, fingerprint, lease in ms, retention in ms, whether orphans may be
 * taken ('1'), scope, key. Answers 1, attempt and fence; or 0 and the record.
 */
const CLAIM = new Script(`
${OWNS}
if owns then
  redis.call('PEXPIRE', KEYS[1], ARGV[3] + ARGV[4])
  return {1, row[2], row[4]}
end
if row and row[1] == 'completed' then
  ${ANSWER_RECORD}
end
local free = not row
  or left ~= -1 and row[6] == ARGV[2] and (not row[3] or ARGV[5] == '1' and left <= row[5])
if not free then
  ${ASSERT_PRIMARY}
  ${ANSWER_RECORD}
end
${NEXT_FENCE}
local attempt = row and row[2] + 1 or 1
local created = row and row[9] or math.floor(time[1] * 1000 + time[2] / 1000)
row = {'running', attempt, ARGV[1], fence, tonumber(ARGV[4]), ARGV[2], ARGV[6], ARGV[7], created,
  false, false, false, false, false, row and row[15] or nil}
redis.call('SET', KEYS[1], cmsgpack.pack(row), 'PX', ARGV[3] + ARGV[4])
return {1, attempt, fence}
`);

/** KEYS: record. Answers 0 and the record, or nil. */
const FIND = new Script(`
${READ}
if row then
  ${ANSWER_RECORD}
end
`);

/** KEYS: record. ARGV: token, retention in ms, status or '', headers, body unless null. Answers 1 or 0. */
const COMPLETE = new Script(`
${READ}
if not row or row[1] ~= 'running' or row[3] ~= ARGV[1] then
  if row and row[1] == 'completed' and row[3] == ARGV[1] then
    return 1
  end
  ${ASSERT_PRIMARY}
  return 0
end
local time = redis.call('TIME')
local now = math.floor(time[1] * 1000 + time[2] / 1000)
row[1] = 'completed'
row[10] = now
row[11] = now + ARGV[2]
row[12] = tonumber(ARGV[3]) or false
row[13] = ARGV[4]
row[14] = ARGV[5] or false
row[15] = nil
redis.call('SET', KEYS[1], cmsgpack.pack(row), 'PX', ARGV[2])
${WAKE}
return 1
`);

/** KEYS: records. ARGV: lease in ms, then a token for each. Answers 1 or 0 for each. */
const RENEW = new Script(`
local answers = {}
for i = 1, #KEYS do
  local packed = redis.call('GET', KEYS[i])
  local row = packed and cmsgpack.unpack(packed)
  if row and row[1] == 'running' and row[3] == ARGV[i + 1] and redis.call('PTTL', KEYS[i]) ~= -1 then
    answers[i] = redis.call('PEXPIRE', KEYS[i], ARGV[1] + row[5])
  else
    ${ASSERT_PRIMARY}
    answers[i] = 0
  end
end
return answers
`);

/** KEYS: record. ARGV: token, 'forget' or 'keep', retention in ms. Answers 1 or 0. */
const RELEASE = new Script(`
${OWNS}
if not owns then
  ${ASSERT_PRIMARY}
  return 0
end
if ARGV[2] == 'forget' and row[2] == 1 then
  redis.call('DEL', KEYS[1])
else
  local time = redis.call('TIME')
  row[3] = false
  row[11] = math.floor(time[1] * 1000 + time[2] / 1000) + ARGV[3]
  redis.call('SET', KEYS[1], cmsgpack.pack(row), 'PX', ARGV[3])
end
${WAKE}
return 1
`);

/** KEYS: record. ARGV: token, '1' to mark an orphan only. Answers 1 or 0. */
const MARK_UNCERTAIN = new Script(`
${OWNS}
if not owns or ARGV[2] == '1' and left > row[5] then
  ${ASSERT_PRIMARY}
  return 0
end
redis.call('PERSIST', KEYS[1])
${WAKE}
return 1
`);

/**
 * Results in one Redis, each operation one script and one round trip. It is its own lock: `claim` is atomic.
 *
 * A Redis without persistence forgets results when it restarts, and a failover may lose the latest. Where that
 * must not happen keep results in SQL and only the lock in Redis.
 */
export class RedisStore extends ResultStore {
  readonly name = 'redis';
  override readonly steps: StepStore;
  private readonly connection: RedisConnection;
  private readonly keys: KeySpace;
  private readonly operator: RedisOperator;

  /** @throws TypeError when an option is not what it should be. */
  constructor(options: RedisStoreOptions) {
    super();
    checkRedisOptions('redisStore', options);
    this.connection = connectionOf(options.client);
    this.keys = new KeySpace(options.keyPrefix);
    this.steps = new RedisSteps(this.connection, (id) => this.key(id));
    this.operator = new RedisOperator(options.client, this.connection, this.keys);
  }

  claim(request: ClaimRequest): Promise<ClaimAnswer> {
    const { id, token, fingerprint, scope, key } = request;
    const keys = [this.key(id), this.keys.fence(id)];
    const [leaseMs, retentionMs] = [wholeMs(request.leaseMs), wholeMs(request.retentionMs)];
    const args = [token, fingerprint, leaseMs, retentionMs, request.takeOrphan ? '1' : '0', scope, key];
    return this.connection.take(token, CLAIM, keys, args).then((answer) => {
      const reply = answer as unknown[];
      if (Number(reply[0]) === 0) return { claimed: false, record: recordOf(id, reply) };
      return { claimed: true, attempt: Number(reply[1]), fence: BigInt(reply[2] as number | string) };
    });
  }

  async find(id: string): Promise<StoredRecord | null> {
    const reply = await this.connection.run(FIND, [this.key(id)], []);
    return reply === null ? null : recordOf(id, reply as unknown[]);
  }

  complete(id: string, token: string, response: StoredResponse, retentionMs: number): Promise<boolean> {
    const { status, headers, body } = response;
    const args = [token, wholeMs(retentionMs), status ?? '', JSON.stringify(headers)];
    const bytes = body === null ? [] : [bufferOf(body)];
    return this.connection
      .run(COMPLETE, [this.key(id)], [...args, ...bytes])
      .then((reply) => Number(reply) === 1);
  }

  async renew(claims: readonly ClaimRef[], leaseMs: number): Promise<(boolean | null)[]> {
    const held = claims.map(({ id, token }) => ({ key: this.key(id), token }));
    return this.connection.runForAll(RENEW, held, wholeMs(leaseMs));
  }

  async release(id: string, token: string, mode: 'forget' | 'keep', retentionMs: number): Promise<boolean> {
    const args = [token, mode, wholeMs(retentionMs)];
    return Number(await this.connection.giveBack(token, RELEASE, [this.key(id)], args)) === 1;
  }

  async markUncertain(id: string, token: string, orphanOnly = false): Promise<boolean> {
    const args = [token, orphanOnly ? '1' : '0'];
    return Number(await this.connection.run(MARK_UNCERTAIN, [this.key(id)], args)) === 1;
  }

  /** Redis expires records by itself. */
  async sweep(_limit?: number): Promise<number> {
    return 0;
  }

  act(act: Act): Promise<ActAnswer> {
    return this.operator.act(act);
  }

  audit(id: string): Promise<AuditEntry[]> {
    return this.operator.audit(id);
  }

  list(query: ListQuery): Promise<ListPage> {
    return this.operator.list(query);
  }

  reserve(id: string, token: string, ms: number): Promise<boolean> {
    return this.operator.reserve(id, token, ms);
  }

  override watch(id: string, wake: () => void): Promise<() => void> {
    return this.connection.watch(this.key(id), wake);
  }

  private key(id: string): string {
    return this.keys.key('record', id);
  }
}

/**
 * Results in one Redis, by the client you give. How durable they are is up to that Redis; see
 * {@link RedisStoreOptions.client}.
 *
 * @throws TypeError when an option is not what it should be.
 */
export function redisStore(options: RedisStoreOptions): RedisStore {
  return new RedisStore(options);
}
