import { type KeySpace, wholeMs } from '../../redis/keys.js';
import type { RedisClient } from '../../redis/redis-client.js';
import { connectionOf, type RedisConnection } from '../../redis/redis-connection.js';
import { ASSERT_PRIMARY, Script, WAKE } from '../../redis/script.js';
import { days } from '../../durations.js';
import type { Act, ActAnswer, AuditEntry, ListedRecord, ListPage, ListQuery } from '../act.js';
import { cursorOf, partsOf } from '../list-cursor.js';
import { ANSWER_RECORD, bufferOf, LISTED_FIELDS, listedRecordOf, READ, recordOf, text } from './record.js';

/** How long the acts on a record are remembered after the last of them. */
const AUDIT_MS = days(90);
/** Keys of the database one step of a list looks at, about; the server does nothing else meanwhile. */
const STEP_KEYS = 100;
/** Steps of one page. A page may therefore be empty and not the last. */
const STEPS_AT_MOST = 50;

/**
 * KEYS: record, its audit, its reservation. ARGV: id of the act, of the record, by, reason, '1' to act on a live one,
 * token of the uncertain row meant or '', retention in ms, life of the audit in ms; for an answer also status or '',
 * headers, body unless null. Answers 1, or 0 and the record, or 0. Known again by the act's id when it is sent again.
 */
const ACT = new Script(`
${READ}
local last = redis.call('LINDEX', KEYS[2], -1)
if last and cjson.decode(last).actId == ARGV[1] then
  return {1}
end
local answers = ARGV[10] ~= nil
local uncertain = row and row[1] == 'running' and left == -1
local may = row and row[1] == 'running'
if may and ARGV[6] ~= '' then
  may = uncertain and row[3] == ARGV[6]
elseif may and not uncertain then
  if row[3] then
    may = ARGV[5] == '1' or left <= row[5]
  else
    may = answers
  end
end
if not may then
  ${ASSERT_PRIMARY}
  if row then
    ${ANSWER_RECORD}
  end
  return {0}
end
local time = redis.call('TIME')
local now = math.floor(time[1] * 1000 + time[2] / 1000)
local entry = {actId = ARGV[1], id = ARGV[2], scope = row[7], key = row[8], act = answers and 'answer' or 'free',
  by = ARGV[3], reason = ARGV[4], state = uncertain and 'uncertain' or 'running', attempt = row[2], at = now}
row[3] = false
row[11] = now + ARGV[7]
if answers then
  row[1] = 'completed'
  row[3] = ARGV[1]
  row[10] = now
  row[12] = tonumber(ARGV[9]) or false
  row[13] = ARGV[10]
  row[14] = ARGV[11] or false
  row[15] = nil
end
redis.call('SET', KEYS[1], cmsgpack.pack(row), 'PX', ARGV[7])
redis.call('RPUSH', KEYS[2], cjson.encode(entry))
redis.call('PEXPIRE', KEYS[2], ARGV[8])
redis.call('DEL', KEYS[3])
${WAKE}
return {1}
`);

/** KEYS: audit. Answers its entries, JSON. */
const AUDIT = new Script(`return redis.call('LRANGE', KEYS[1], 0, -1)`);

/** KEYS: record, its reservation. ARGV: token, life in ms. Answers 1 or 0. */
const RESERVE = new Script(`
${READ}
local uncertain = row and row[1] == 'running' and row[3] == ARGV[1] and left == -1
if uncertain and redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return 1
end
${ASSERT_PRIMARY}
return 0
`);

/**
 * ARGV: cursor of SCAN, pattern, keys to look at, state or '', scope or '', age in ms. Answers the next cursor and for each
 * record that matches its key, the milliseconds it has left and its fields up to the answer. A record that expires, which
 * is any but an uncertain one, is not read when an uncertain one is asked for.
 */
const LIST = new Script(`
local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local time = redis.call('TIME')
local latest = math.floor(time[1] * 1000 + time[2] / 1000) - ARGV[6]
local answer = {page[1]}
for _, key in ipairs(page[2]) do
  local left = redis.call('PTTL', key)
  local packed = (ARGV[4] ~= 'uncertain' or left == -1) and left ~= -2 and redis.call('GET', key)
  if packed then
    local row = cmsgpack.unpack(packed)
    local state = row[1] == 'running' and left == -1 and 'uncertain' or row[1]
    local stuck = state == 'running' and row[3] and left <= row[5]
    if (ARGV[4] == '' or ARGV[4] == state or ARGV[4] == 'stuck' and stuck)
      and (ARGV[5] == '' or ARGV[5] == row[7]) and row[9] <= latest then
      answer[#answer + 1] = {key, left, unpack(row, 1, ${LISTED_FIELDS})}
    end
  end
end
return answer
`);

/** What an operator asks of Redis: acts are one script each; a list looks through the keys, there is no index to maintain. */
export class RedisOperator {
  constructor(
    private readonly client: RedisClient,
    private readonly connection: RedisConnection,
    private readonly keys: KeySpace,
  ) {}

  async act(act: Act): Promise<ActAnswer> {
    const { id, response } = act;
    const keys = (['record', 'audit', 'reserved'] as const).map((kind) => this.keys.key(kind, id));
    const answer = response && [
      response.status ?? '',
      JSON.stringify(response.headers),
      ...(response.body === null ? [] : [bufferOf(response.body)]),
    ];
    const reply = (await this.connection.run(ACT, keys, [
      ...[act.actId, id, act.by, act.reason, act.evenLive ? '1' : '0', act.uncertainToken ?? ''],
      ...[wholeMs(act.retentionMs), AUDIT_MS],
      ...(answer ?? []),
    ])) as unknown[];
    if (Number(reply[0]) === 1) return { done: true };
    return { done: false, record: reply.length > 1 ? recordOf(id, reply) : null };
  }

  async audit(id: string): Promise<AuditEntry[]> {
    const entries = (await this.connection.run(AUDIT, [this.keys.key('audit', id)], [])) as unknown[];
    return entries.map((entry) => JSON.parse(text(entry)) as AuditEntry);
  }

  async reserve(id: string, token: string, ms: number): Promise<boolean> {
    const keys = [this.keys.key('record', id), this.keys.key('reserved', id)];
    return Number(await this.connection.run(RESERVE, keys, [token, wholeMs(ms)])) === 1;
  }

  /**
   * A page is in no order, and a record may come twice, as with SCAN. The cursor: the node of a Cluster, that of SCAN,
   * and the last id given of that step. A step that gave more than fitted is made again for the rest.
   */
  async list({ state, scope = '', olderThanMs = 0, limit, cursor }: ListQuery): Promise<ListPage> {
    let [node, scan, lastId] =
      cursor === undefined ? [0, '0', ''] : partsOf(cursor, ['number', 'string', 'string']);
    // Before that a Cluster knows of no nodes.
    await this.connection.ready();
    const nodes = this.nodes();
    const pattern = this.keys.pattern('record', this.client.options.keyPrefix ?? '');
    const records: ListedRecord[] = [];
    for (let steps = 0; node < nodes.length; steps++) {
      if (steps === STEPS_AT_MOST) return { records, cursor: cursorOf(node, scan, lastId) };
      const args = [scan, pattern, STEP_KEYS, state ?? '', scope, olderThanMs];
      const [next, ...rows] = (await nodes[node]!.run(LIST, [], args)) as [unknown, ...unknown[][]];
      const listed = rows
        .map(listedOf)
        .filter(({ id }) => id > lastId)
        .sort((a, b) => (a.id < b.id ? -1 : 1));
      const fitting = listed.slice(0, limit - records.length);
      records.push(...fitting);
      if (fitting.length < listed.length) {
        return { records, cursor: cursorOf(node, scan, fitting.at(-1)?.id ?? lastId) };
      }
      [scan, lastId] = [text(next), ''];
      if (scan === '0') node++;
    }
    return { records, cursor: null };
  }

  /** In an order that stays the same from page to page. */
  private nodes(): RedisConnection[] {
    if (!this.client.isCluster || !this.client.nodes) return [this.connection];
    const place = ({ options: { host, port } }: RedisClient) => `${host}:${port}`;
    return this.client
      .nodes('master')
      .sort((a, b) => (place(a) < place(b) ? -1 : 1))
      .map(connectionOf);
  }
}

function listedOf([key, left, ...fields]: unknown[]): ListedRecord {
  return listedRecordOf(text(key).slice(-64), [0, left, ...fields]);
}
