import type { RedisConnection } from '../../redis/redis-connection.js';
import { ASSERT_PRIMARY, Script } from '../../redis/script.js';
import type { StepRecord, StepStore, StoredStep } from '../step-store.js';
import { OWNS, READ } from './record.js';

/** KEYS: record. Answers five values a step. */
const LIST = new Script(`
${READ}
local answer = {}
for _, step in ipairs(row and row[15] or {}) do
  for field = 1, 5 do
    answer[#answer + 1] = step[field]
  end
end
return answer
`);

/** KEYS: record. ARGV: token, name, position, result. Answers 1 or 0. */
const RECORD = new Script(`
${OWNS}
if not owns then
  ${ASSERT_PRIMARY}
  return 0
end
local time = redis.call('TIME')
local steps = row[15] or {}
local at = 1
while steps[at] and steps[at][1] ~= ARGV[2] do
  at = at + 1
end
steps[at] = {ARGV[2], tonumber(ARGV[3]), ARGV[4], row[2], math.floor(time[1] * 1000 + time[2] / 1000)}
row[15] = steps
redis.call('SET', KEYS[1], cmsgpack.pack(row), 'PX', left)
return 1
`);

/** Steps inside the record itself: they expire, go and stay with it. */
export class RedisSteps implements StepStore {
  constructor(
    private readonly connection: RedisConnection,
    private readonly key: (id: string) => string,
  ) {}

  async list(id: string): Promise<StoredStep[]> {
    const reply = (await this.connection.run(LIST, [this.key(id)], [])) as (Buffer | number | string)[];
    const steps: StoredStep[] = [];
    for (let at = 0; at < reply.length; at += 5) {
      const [name, position, result, attempt, completedAt] = reply.slice(at, at + 5);
      steps.push({
        name: String(name),
        position: Number(position),
        result: String(result),
        attempt: Number(attempt),
        completedAt: Number(completedAt),
      });
    }
    return steps.sort((a, b) => a.position - b.position);
  }

  async record(id: string, token: string, { name, position, result }: StepRecord): Promise<boolean> {
    const reply = await this.connection.run(RECORD, [this.key(id)], [token, name, position, result]);
    return Number(reply) === 1;
  }
}
