import { randomUUID } from 'node:crypto';
import { Job, type JobsOptions, Queue, QueueEvents } from 'bullmq';
import type { Redis } from 'ioredis';
import { type RedisServer, startRedis } from '../../sample-app/servers/servers.js';
import { eventually } from '../support/eventually.js';
import { redisClient } from '../support/redis-client.js';
import { sharedRedisUrl } from '../support/shared-servers.js';
import { ConsumerProcess } from './consumer-process.js';
import type { PayCommand, WorkerSetup } from './fixtures/commands.js';

const LEASE_MS = 500;
const REDELIVERY_MS = 200;
const prefix = `bull-${randomUUID()}`;

let redis: Redis;
let services: ConsumerProcess[];
const open: { close(): Promise<void> }[] = [];
let refunds: Queue;
let payouts: Queue;
const events = new Map<Queue, QueueEvents>();

const start = (setup: Partial<WorkerSetup> = {}) =>
  ConsumerProcess.of('worker', {
    JOBS: JSON.stringify({
      redisUrl: sharedRedisUrl(),
      storeUrl: sharedRedisUrl(),
      prefix,
      module: { leaseMs: LEASE_MS, redeliveryDelayMs: REDELIVERY_MS },
      ...setup,
    } satisfies WorkerSetup),
  });

async function openQueue(name: string, of = prefix): Promise<Queue> {
  const { host, port, db } = redis.options;
  const options = { connection: { host: host!, port: port!, db: db! }, prefix: of };
  const queue = new Queue(name, options);
  queue.setMaxListeners(0);
  const told = new QueueEvents(name, options);
  events.set(queue, told);
  open.push(queue, told);
  await told.waitUntilReady();
  return queue;
}

beforeAll(async () => {
  redis = redisClient(sharedRedisUrl());
  [refunds, payouts] = await Promise.all([openQueue('refunds'), openQueue('payouts')]);
  services = await Promise.all([start(), start()]);
});
afterAll(async () => {
  await Promise.all(services.map(({ process }) => process.stop()));
  await Promise.all(open.map((one) => one.close()));
});

const command = (of: Partial<PayCommand> = {}): PayCommand => ({
  refundId: randomUUID(),
  amount: 500,
  ...of,
});
const paid = ({ refundId }: PayCommand) => redis.llen(`paid:${refundId}`);
const runs = ({ refundId }: PayCommand) =>
  services.reduce((count, service) => count + service.runs(refundId), 0);
const whoBegan = ({ refundId }: PayCommand) =>
  Promise.any(services.map((service) => service.began(refundId).then(() => service)));
/** What becomes of the job: its value, or why it has failed. */
const outcome = (queue: Queue, job: Job): Promise<unknown> =>
  job.waitUntilFinished(events.get(queue)!, 20_000).catch((error: Error) => ({ failed: error.message }));
const handle = async (queue: Queue, payload: unknown, name = 'refund', options: JobsOptions = {}) =>
  outcome(queue, await queue.add(name, payload, options));

describe.each(['the processor', 'a method it calls'])('@Idempotent on %s', (where) => {
  let queue: Queue;
  beforeAll(() => {
    queue = where === 'the processor' ? payouts : refunds;
  });

  it('G01 a burst of 20 duplicate jobs over two processes runs once, and all have its value', async () => {
    const refund = command();
    const values = await Promise.all(Array.from({ length: 20 }, () => handle(queue, refund)));
    expect(new Set(values.map((value) => JSON.stringify(value)))).toEqual(
      new Set([JSON.stringify({ refundId: refund.refundId, payout: 1, attempt: 1 })]),
    );
    expect(runs(refund)).toBe(1);
  });

  it('G07 another payload fails at once, however many attempts the job has', async () => {
    const refund = command();
    await handle(queue, refund);
    const job = await queue.add('refund', { ...refund, amount: 1 }, { attempts: 3 });
    expect(await outcome(queue, job)).toEqual({ failed: 'Idempotency-Key is already used' });
    expect(await Job.fromId(queue, job.id!)).toMatchObject({ attemptsMade: 1 });
    expect(runs(refund)).toBe(1);
  });
});

it('G05 a late duplicate has the value of the first', async () => {
  const refund = command();
  const first = await handle(refunds, refund);
  expect(await handle(refunds, refund, 'refund', { delay: LEASE_MS * 2 })).toEqual(first);
  expect(runs(refund)).toBe(1);
});

it('G54 a duplicate of a running job is delayed until that is done; no attempt was made', async () => {
  const refund = command({ hold: true });
  const first = handle(refunds, refund);
  const service = await whoBegan(refund);
  const second = await refunds.add('refund', refund);
  const done = outcome(refunds, second);
  // More than once: it came back, and was delayed again.
  await eventually(() => second.isDelayed(), 'it to be delayed');
  await eventually(
    async () => (await Job.fromId(refunds, second.id!))!.attemptsStarted > 1,
    'it to come back',
  );
  expect(await Job.fromId(refunds, second.id!)).toMatchObject({ attemptsMade: 0 });
  expect(services.flatMap(({ errors }) => errors)).toEqual([]);
  await service.go(refund.refundId);
  expect(await done).toEqual(await first);
  expect(runs(refund)).toBe(1);
});

it('G31 the policy decides: an error that frees the key is tried again as BullMQ says', async () => {
  const refund = command({ fails: 'error', failures: 2 });
  expect(await handle(refunds, refund, 'refund', { attempts: 3 })).toMatchObject({ attempt: 3 });
  expect(await handle(refunds, command({ fails: 'error' }))).toEqual({ failed: 'the bank is closed' });
  expect(await paid(refund)).toBe(1);
});

it('G31 the policy decides: a lasting error is recorded, and its job and duplicates are not tried again', async () => {
  const refund = command({ fails: 'error', failures: 9 });
  for (const _ of [1, 2]) {
    const job = await refunds.add('lasting', refund, { attempts: 3 });
    expect(await outcome(refunds, job)).toEqual({ failed: 'the bank is closed' });
    expect(await Job.fromId(refunds, job.id!)).toMatchObject({ attemptsMade: 1 });
  }
  expect(runs(refund)).toBe(1);
});

it('a job is known by its id, and takes a lock', async () => {
  const refund = command();
  const add = () => refunds.add('by-id', refund, { jobId: `job-${refund.refundId}` });
  const job = await add();
  const first = await outcome(refunds, job);
  // Another one of the same id.
  await job.remove();
  expect(await outcome(refunds, await add())).toEqual(first);
  expect(runs(refund)).toBe(1);
});

describe('a worker of its own', () => {
  const own = `${prefix}-own`;
  let store: RedisServer;
  let service: ConsumerProcess;
  let queue: Queue;
  let early: Job;
  const refund = command();

  beforeAll(async () => {
    [store, queue] = await Promise.all([startRedis(), openQueue('payouts', own)]);
    early = await queue.add('refund', refund);
    service = await start({ prefix: own, storeUrl: store.url, startMs: 300 });
  });
  afterAll(async () => {
    await service.process.stop();
    await store.stop();
  });

  it('a job that comes before the app has started waits for it', async () => {
    expect(await outcome(queue, early)).toMatchObject({ attempt: 1 });
    expect(service.runs(refund.refundId)).toBe(1);
  });

  it('G85 store and lock are down: the job comes back until they are there, and is run once', async () => {
    await store.kill();
    const late = command();
    const job = await queue.add('refund', late);
    const done = outcome(queue, job);
    await eventually(async () => (await Job.fromId(queue, job.id!))!.attemptsStarted > 1, 'it to come back');
    expect(service.runs(late.refundId)).toBe(0);
    await store.restart();
    expect(await done).toMatchObject({ attempt: 1 });
    expect(service.runs(late.refundId)).toBe(1);
  });
});

// The last one: it ends a service.
it('G51 a worker killed after the effect: its job is run by another one, the step is not', async () => {
  const refund = command({ dies: true });
  const job = await payouts.add('refund', refund);
  const done = outcome(payouts, job);
  await Promise.any(services.map(({ process }) => process.exited));
  expect(await done).toEqual({ refundId: refund.refundId, payout: 1, attempt: 2 });
  expect([runs(refund), await paid(refund)]).toEqual([2, 1]);
});
