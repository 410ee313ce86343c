/**
 * What idempotency costs a request, against the bare handler and against the same by hand. Run by `npm run bench`,
 * on the compiled package.
 *
 *   --rounds <n>    rounds (default 10)
 *   --seconds <n>   of each measurement in a round (default 0.8)
 *   --only <names>  comma-separated variants, besides the bare handler
 *   --json          nothing but the numbers
 *   --rtt <ms>      PostgreSQL is so far away: what a round trip takes besides, at least 2 (default: on this machine)
 *   --profile <dir> writes a CPU profile of every app there
 *
 * Times are never asserted: on a machine that does other things as well only ratios inside a round say anything.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { startProxy } from 'nestjs-idempotent/testing';
import { startPostgres, startRedis } from '../../sample-app/servers/servers.js';
import { Child } from './child.js';
import { type Commands, commandsDuring, COUNTING, startCounting, stopCounting } from './commands.js';
import type { Load, Measured } from './load.js';
import { printed, spread, type Spread } from './report.js';
import { BARE, type Servers, type Variant, VARIANTS } from './variants.js';

const CONNECTIONS = 32;
/** Before anything is measured, so that all of it is compiled; whichever is first. */
const WARM_UP = { requests: 5_000, seconds: 5 };
/** Answers there are to replay. */
const STORED = 2_000;
/** Requests whose commands are counted. */
const COUNTED = 100;
const RUNNING_KEYS = 10_000;

export interface Report {
  readonly rounds: number;
  readonly node: string;
  readonly variants: readonly VariantReport[];
}

export interface VariantReport {
  readonly label: string;
  readonly fresh: Side;
  readonly replay?: Side;
  /** Round trips of a duplicate of a call that runs in the same process. */
  readonly duplicateCommands?: number;
  readonly bytesPerRunningKey?: number;
}

export interface Side {
  readonly perSecond: Spread;
  /** CPU time of the app's process for a request, in microseconds. */
  readonly cpuMicros: Spread;
  readonly ofBare: Spread;
  readonly ofFloor?: Spread;
  readonly redisCommands?: Record<string, number>;
  readonly redisCommandsInScripts?: number;
  readonly sqlStatements?: number;
}

type Kind = 'fresh' | 'replay';

interface Sample {
  readonly perSecond: number;
  readonly cpuMicros: number;
}

/** One variant, its app, and what was found out about it. */
interface Contestant {
  readonly variant: Variant;
  readonly app: Child;
  readonly url: string;
  readonly samples: Record<Kind, Sample[]>;
  commands?: Record<Kind, Commands>;
  duplicateCommands?: number;
  bytesPerRunningKey?: number;
}

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '10' },
    seconds: { type: 'string', default: '0.8' },
    only: { type: 'string' },
    json: { type: 'boolean', default: false },
    rtt: { type: 'string' },
    profile: { type: 'string' },
  },
});
const rounds = Number(options.rounds);
const seconds = Number(options.seconds);
const only = options.only?.split(',');

function say(what: string): void {
  if (!options.json) console.error(what);
}

await using redis = await startRedis();
await using postgres = await startPostgres({ args: COUNTING });
await startCounting(postgres.url);
await using distance = await startProxy(postgres.port);
if (options.rtt) distance.delay(Number(options.rtt) / 2);
const postgresUrl = options.rtt ? distance.url(postgres.url) : postgres.url;
const servers: Servers = { redisUrl: redis.url, postgresUrl };
const load = await Child.start('./load.js');
const contestants: Contestant[] = [];
for (const variant of VARIANTS) {
  if (!only || variant === BARE || only.includes(variant.name)) contestants.push(await enter(variant));
}
const bare = contestants[0]!;

for (const contestant of contestants) {
  say(`Warming up: ${contestant.variant.label}`);
  await warmUp(contestant);
  await look(contestant);
}
await stopCounting(postgres.url);
for (let round = 1; round <= rounds; round++) {
  say(`Round ${round} of ${rounds}`);
  await runRound(round);
}
for (const contestant of contestants) {
  const { app, variant } = contestant;
  if (!variant.isFew && (variant.floor || variant.name === 'memory')) {
    contestant.bytesPerRunningKey = await app.ask('bytesPerRunningKey', RUNNING_KEYS);
  }
}
await Promise.all([load, ...contestants.map(({ app }) => app)].map((child) => child.stop()));

const report: Report = { rounds, node: process.version, variants: contestants.map(reportOn) };
console.log(options.json ? JSON.stringify(report, null, 2) : printed(report));

async function enter(variant: Variant): Promise<Contestant> {
  const profiling = options.profile
    ? ['--cpu-prof', `--cpu-prof-dir=${options.profile}/${variant.name}`]
    : [];
  const app = await Child.start(
    './app.js',
    [variant.name, JSON.stringify(servers)],
    ['--expose-gc', '--enable-source-maps', ...profiling],
  );
  return { variant, app, url: await app.ask('url'), samples: { fresh: [], replay: [] } };
}

async function warmUp(contestant: Contestant): Promise<void> {
  await send(contestant, 'fresh', { keys: 'warm-', ...WARM_UP });
  if (contestant.variant.isBare) return;
  await send(contestant, 'fresh', { keys: 'stored-', requests: STORED });
  await send(contestant, 'replay', { keys: 'stored-', cycle: STORED, ...WARM_UP });
}

/** Counts commands. */
async function look(contestant: Contestant): Promise<void> {
  const { variant } = contestant;
  if (variant.isBare) return;
  const counted = (kind: Kind, keys: string) =>
    commandsDuring(servers, async () => {
      await send(contestant, kind, { keys, requests: COUNTED, connections: 4 });
      // Locks are released behind the answer.
      await sleep(200);
    });
  contestant.commands = {
    fresh: await counted('fresh', 'counted-'),
    replay: await counted('replay', 'stored-'),
  };
  if (variant.name.startsWith('floor')) return;
  const duplicates = { path: '/slow', keys: 'duplicate-', cycle: 1 };
  const first = ask(contestant, { ...duplicates, connections: 1, requests: 1 });
  await sleep(300);
  const { redis, sql } = await commandsDuring(servers, async () => {
    const { statuses } = await ask(contestant, { ...duplicates, connections: 10, requests: 50 });
    if (statuses['409'] !== 50) throw new Error(`Duplicates were answered ${JSON.stringify(statuses)}`);
  });
  await first;
  contestant.duplicateCommands = (sum(redis) + sql) / 50;
}

/** Every other round goes backwards, and the bare handler is measured at both ends: drift cancels out. */
async function runRound(round: number): Promise<void> {
  const others = contestants.slice(1);
  if (round % 2 === 0) others.reverse();
  const first = await measure(bare, 'fresh', round);
  for (const contestant of others) {
    contestant.samples.fresh.push(await measure(contestant, 'fresh', round));
    contestant.samples.replay.push(await measure(contestant, 'replay', round));
  }
  const last = await measure(bare, 'fresh', round);
  bare.samples.fresh.push({
    perSecond: (first.perSecond + last.perSecond) / 2,
    cpuMicros: (first.cpuMicros + last.cpuMicros) / 2,
  });
}

async function measure(contestant: Contestant, kind: Kind, round: number): Promise<Sample> {
  const what = kind === 'fresh' ? { keys: `${round}-${Math.random()}-` } : { keys: 'stored-', cycle: STORED };
  const before = await contestant.app.ask<number>('cpu');
  const measured = await send(contestant, kind, { ...what, seconds });
  const cpu = (await contestant.app.ask<number>('cpu')) - before;
  return { perSecond: measured.requests / measured.seconds, cpuMicros: cpu / measured.requests };
}

/** @throws Error when an answer is not what it should be: then there is nothing to measure. */
async function send(
  contestant: Contestant,
  kind: Kind,
  what: Partial<Load> & { keys: string },
): Promise<Measured> {
  const { variant } = contestant;
  const path = (kind === 'replay' && variant.replayPath) || '/payments';
  const measured = await ask(contestant, { path, connections: CONNECTIONS, ...what });
  const { statuses, replayed } = measured;
  const all = sum(statuses);
  const shouldBeReplayed = kind === 'replay' && !variant.name.startsWith('floor') ? all : 0;
  if (statuses['201'] !== all || replayed !== shouldBeReplayed) {
    throw new Error(`${variant.label}, ${kind}: ${JSON.stringify(statuses)}, ${replayed} of ${all} replayed`);
  }
  return measured;
}

function ask({ variant, url }: Contestant, request: Omit<Load, 'url'>): Promise<Measured> {
  return load.ask('run', { url, ...request, keys: `${variant.name}-${request.keys}` });
}

function reportOn(contestant: Contestant): VariantReport {
  const { variant, duplicateCommands, bytesPerRunningKey } = contestant;
  return {
    label: variant.label,
    fresh: side(contestant, 'fresh'),
    ...(variant.isBare ? {} : { replay: side(contestant, 'replay') }),
    ...(duplicateCommands === undefined ? {} : { duplicateCommands }),
    ...(bytesPerRunningKey === undefined ? {} : { bytesPerRunningKey }),
  };
}

function side({ variant, samples, commands }: Contestant, kind: Kind): Side {
  const floor = contestants.find(({ variant: { name } }) => name === variant.floor);
  const shareOf = (base: readonly Sample[]) =>
    spread(samples[kind].map(({ perSecond }, round) => perSecond / base[round]!.perSecond));
  const seen = commands?.[kind];
  return {
    perSecond: spread(samples[kind].map(({ perSecond }) => perSecond)),
    cpuMicros: spread(samples[kind].map(({ cpuMicros }) => cpuMicros)),
    ofBare: shareOf(bare.samples.fresh),
    ...(floor ? { ofFloor: shareOf(floor.samples[kind]) } : {}),
    ...(seen
      ? {
          redisCommands: Object.fromEntries(
            Object.entries(seen.redis).map(([name, n]) => [name, n / COUNTED]),
          ),
          redisCommandsInScripts: seen.inScripts / COUNTED,
          sqlStatements: seen.sql / COUNTED,
        }
      : {}),
  };
}

function sum(numbers: Record<string, number>): number {
  return Object.values(numbers).reduce((all, n) => all + n, 0);
}
