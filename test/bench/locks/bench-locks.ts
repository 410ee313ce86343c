/**
 * What a lock costs, against the same by hand and against other libraries. Run by `npm run bench:locks`, on the
 * compiled package.
 *
 *   --rounds <n>    rounds (default 5)
 *   --seconds <n>   of each measurement in a round (default 0.5)
 *   --json          nothing but the numbers
 *
 * Times are never asserted: on a machine that does other things as well only ratios inside a round say anything.
 */
import { parseArgs } from 'node:util';
import { startRedis } from '../../../sample-app/servers/servers.js';
import { startZooKeeper } from '../../../sample-app/servers/zookeeper.js';
import { redisCommandsDuring } from '../commands.js';
import { number, ratio, spread, type Spread, table } from '../report.js';
import { BLOCKING_POP, type Contender, FLOOR, type Instance, LIBRARIES } from './contenders.js';
import { handOffs, pairsPerSecond } from './measure.js';
import { REDLOCKS } from './redlocks.js';
import { ZOOKEEPERS } from './zookeepers.js';

const CALLERS = [1, 16, 256];
const REDLOCK_CALLERS = [1, 16];
const ZOOKEEPER_CALLERS = [1, 16];
const NODES = 5;
const WAITERS = 50;
/** Each stands for a process. */
const INSTANCES = 5;
/** Hand-offs from one caller to one that waits, in a round. */
const SINGLE_HAND_OFFS = 5;
const WARM_UP_SECONDS = 0.5;

interface Line {
  readonly label: string;
  readonly perSecond: Spread;
  readonly ofFloor: Spread;
}

interface HandOff {
  readonly label: string;
  readonly medianMs: Spread;
  readonly ofFloor: Spread;
  readonly commands: number;
}

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '0.5' },
    json: { type: 'boolean', default: false },
  },
});
const rounds = Number(options.rounds);
const seconds = Number(options.seconds);

function say(what: string): void {
  if (!options.json) console.error(what);
}

await using redis = await startRedis();
const free: Record<string, Line[]> = {};
for (const callers of CALLERS) {
  say(`One Redis, free locks, ${callers} callers`);
  free[`One Redis, ${callers} callers`] = await compare(callers, [FLOOR, ...LIBRARIES], redis.url);
}
const handedOff: Record<string, HandOff[]> = {};
for (const waiters of [1, WAITERS]) {
  say(`Hand-off, ${waiters} waiting`);
  handedOff[waiters === 1 ? 'one waiting' : `${waiters} waiting in ${INSTANCES} processes`] =
    await compareHandOffs(waiters);
}
await inNodes();
await inZooKeeper();
const report = { rounds, node: process.version, free, handedOff };
console.log(options.json ? JSON.stringify(report, null, 2) : printed());
process.exit();

async function inNodes(): Promise<void> {
  const nodes = await Promise.all(Array.from({ length: NODES }, () => startRedis()));
  try {
    const urls = nodes.map(({ url }) => url);
    for (const callers of REDLOCK_CALLERS) {
      say(`${NODES} nodes, free locks, ${callers} callers`);
      free[`Redlock on ${NODES} nodes, ${callers} callers`] = await compare(callers, REDLOCKS, urls);
    }
  } finally {
    await Promise.all(nodes.map((node) => node.stop()));
  }
}

async function inZooKeeper(): Promise<void> {
  await using zookeeper = await startZooKeeper({ tickMs: 2_000 });
  for (const callers of ZOOKEEPER_CALLERS) {
    say(`ZooKeeper, free locks, ${callers} callers`);
    free[`ZooKeeper, ${callers} callers`] = await compare(callers, ZOOKEEPERS, zookeeper.url);
  }
}

/** The first contender is the floor. Every other round goes backwards: drift cancels out. */
async function compare<Where>(
  callers: number,
  contenders: readonly { label: string; open(where: Where): Promise<Instance> }[],
  where: Where,
): Promise<Line[]> {
  const entries = [];
  for (const contender of contenders) {
    const instance = await contender.open(where);
    await pairsPerSecond(instance, callers, WARM_UP_SECONDS);
    entries.push({ label: contender.label, instance, rates: [] as number[] });
  }
  for (let round = 0; round < rounds; round++) {
    for (const { instance, rates } of round % 2 ? entries.toReversed() : entries) {
      rates.push(await pairsPerSecond(instance, callers, seconds));
    }
  }
  for (const { instance } of entries) instance.close();
  const floor = entries[0]!.rates;
  return entries.map(({ label, rates }) => ({
    label,
    perSecond: spread(rates),
    ofFloor: spread(rates.map((rate, round) => rate / floor[round]!)),
  }));
}

async function compareHandOffs(waiters: number): Promise<HandOff[]> {
  const entries = [];
  for (const contender of [BLOCKING_POP, ...LIBRARIES]) {
    const open = () => contender.open(redis.url);
    const instances = await Promise.all(Array.from({ length: waiters === 1 ? 2 : INSTANCES }, open));
    await changeHands(contender, instances, waiters, 'warm-up');
    entries.push({ contender, instances, medians: [] as number[], commands: [] as number[] });
  }
  for (let round = 0; round < rounds; round++) {
    for (const { contender, instances, medians, commands } of entries) {
      let times: number[] = [];
      const { redis: sent } = await redisCommandsDuring(redis.url, async () => {
        times = await changeHands(contender, instances, waiters, String(round));
      });
      medians.push(spread(times).median);
      const all = Object.values(sent).reduce((sum, n) => sum + n, 0);
      commands.push(all / (times.length + (waiters === 1 ? SINGLE_HAND_OFFS : 1)));
    }
  }
  for (const { instances } of entries) for (const instance of instances) instance.close();
  const floor = entries[0]!.medians;
  return entries.map(({ contender: { label }, medians, commands }) => ({
    label,
    medianMs: spread(medians),
    ofFloor: spread(medians.map((median, round) => median / floor[round]!)),
    commands: spread(commands).median,
  }));
}

async function changeHands(
  { name }: Contender,
  instances: readonly Instance[],
  waiters: number,
  lock: string,
): Promise<number[]> {
  if (waiters > 1) return handOffs(instances, waiters, `${name}-${waiters}-${lock}`);
  const times: number[] = [];
  for (let n = 0; n < SINGLE_HAND_OFFS; n++) {
    times.push(...(await handOffs(instances, 1, `${name}-1-${lock}-${n}`)));
  }
  return times;
}

function printed(): string {
  return [
    `${rounds} rounds, Node ${process.version}; median (min-max) of the ratios inside a round`,
    ...Object.entries(free).map(([title, lines]) =>
      table(
        [`${title}, free locks`, 'acquire + release a second', 'of the floor'],
        lines.map(({ label, perSecond, ofFloor }) => [
          label,
          String(Math.round(perSecond.median)),
          ratio(ofFloor),
        ]),
      ),
    ),
    ...Object.entries(handedOff).map(([title, lines]) =>
      table(
        [`Hand-off, ${title}`, 'median', 'of the floor', 'commands per acquisition'],
        lines.map(({ label, medianMs, ofFloor, commands }) => [
          label,
          `${medianMs.median.toFixed(2)} ms`,
          ratio(ofFloor),
          number(commands),
        ]),
      ),
    ),
  ].join('\n\n');
}
