import { randomBytes } from 'node:crypto';
import { Servers } from './backends/servers.js';
import { availability } from './backends/installed.js';
import { expectationOf } from './expectations.js';
import { FreeExperiment, checkExperiment } from './experiment.js';
import type { Cell, Experiment, ExperimentOptions, LabContract } from './lab.types.js';
import type { Scenario } from './scenario.js';
import { scenarios } from './scenarios/index.js';
import type { Scheme } from './scheme.js';
import { schemes } from './schemes/index.js';
import { Lane } from './stage/lane.js';
import { needsOf, play } from './stage/play.js';
import type { CellName, CellResult, LabEvent, Moment } from './timeline.js';
import type { Verdict } from './verdict.js';

export interface LabOptions {
  /** Only what needs no server. @default false */
  readonly embedded?: boolean;
  /** How long locks live, in milliseconds. @default 1000 */
  readonly ttlMs?: number;
  /** How many cells are played at a time. @default 3 */
  readonly lanes?: number;
}

/** What a cell is played with. */
interface Programme {
  readonly scheme: Scheme;
  readonly scenario: Scenario;
  readonly ttlMs: number;
  readonly expected: Verdict | undefined;
}

interface Waiting {
  readonly programme: Programme;
  /** Without a lane: it is not played any more. */
  readonly begin: (lane?: Lane) => Promise<void>;
}

/** Plays cells on real servers, which it starts when they are needed and ends with `close`. */
export class Lab implements LabContract {
  readonly schemes = schemes;
  readonly scenarios = scenarios;
  private readonly embedded: boolean;
  private readonly ttlMs: number;
  private readonly servers: Servers;
  private readonly idle: Lane[];
  private readonly lanes: readonly Lane[];
  private readonly listeners = new Set<(event: LabEvent) => void>();
  private readonly last = new Map<string, CellResult>();
  private readonly running = new Map<string, Promise<CellResult>>();
  private readonly waiting: Waiting[] = [];
  /** A server that cells share is about to go down: nobody else plays. */
  private isAlone = false;

  constructor({ embedded = false, ttlMs = 1_000, lanes = 3 }: LabOptions = {}) {
    this.embedded = embedded;
    this.ttlMs = ttlMs;
    this.servers = new Servers(embedded);
    this.lanes = Array.from({ length: lanes }, () => new Lane(this.servers));
    this.idle = [...this.lanes];
  }

  async cells(): Promise<Cell[]> {
    const available = availability(this.embedded);
    return schemes.flatMap((scheme) =>
      scenarios
        .filter(({ only }) => only === undefined || only === scheme.id)
        .map((scenario) => ({
          scheme: scheme.id,
          scenario: scenario.id,
          expectation: expectationOf(scheme.id, scenario.id, this.embedded),
          ...available(needsOf(scheme, scenario)),
        })),
    );
  }

  results(): CellResult[] {
    return [...this.last.values()];
  }

  subscribe(listener: (event: LabEvent) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  async run(cells: readonly CellName[]): Promise<CellResult[]> {
    return Promise.all(cells.map((cell) => this.runCell(cell)));
  }

  async experiment(options: ExperimentOptions): Promise<Experiment> {
    checkExperiment(options);
    const scheme = schemeOf(options.scheme);
    const experiment = new FreeExperiment(options);
    const { ttlMs } = options;
    const finished = this.enqueue({ scheme, scenario: experiment.scenario, ttlMs, expected: undefined });
    return {
      finished,
      kill: () => experiment.kill(),
      sendOne: () => experiment.sendOne(),
    };
  }

  /** What is played is played to its end; what waits is not begun. */
  async close(): Promise<void> {
    const playing = [...this.running.values()];
    await Promise.all(this.waiting.splice(0).map(({ begin }) => begin()));
    await Promise.allSettled(playing);
    await Promise.all(this.lanes.map((lane) => lane.stop()));
    await this.servers.stop();
  }

  private runCell(cell: CellName): Promise<CellResult> {
    const name = `${cell.scheme} ${cell.scenario}`;
    const running = this.running.get(name);
    if (running) return running;
    const scheme = schemeOf(cell.scheme);
    const scenario = scenarios.find(({ id }) => id === cell.scenario);
    if (!scenario) throw new RangeError(`there is no scenario ${cell.scenario}`);
    const { verdict } = expectationOf(scheme.id, scenario.id, this.embedded);
    if (verdict === 'not-applicable') throw new RangeError(`${scenario.id} means nothing to ${scheme.id}`);
    const result = this.enqueue({ scheme, scenario, ttlMs: this.ttlMs, expected: verdict }).finally(() =>
      this.running.delete(name),
    );
    this.running.set(name, result);
    return result;
  }

  private enqueue(programme: Programme): Promise<CellResult> {
    return new Promise((done) => {
      this.waiting.push({
        programme,
        begin: async (lane) => done(await this.perform(programme, lane)),
      });
      this.next();
    });
  }

  /** Who goes alone waits until the others are done, and lets no one in before itself. */
  private next(): void {
    while (this.waiting.length > 0 && this.idle.length > 0 && !this.isAlone) {
      const alone = goesAlone(this.waiting[0]!.programme);
      if (alone && this.idle.length < this.lanes.length) return;
      const { begin } = this.waiting.shift()!;
      const lane = this.idle.shift()!;
      this.isAlone = alone;
      void begin(lane).finally(() => {
        this.isAlone &&= !alone;
        this.idle.push(lane);
        this.next();
      });
    }
  }

  private async perform({ scheme, scenario, ttlMs, expected }: Programme, lane?: Lane): Promise<CellResult> {
    const cell: CellName = { scheme: scheme.id, scenario: scenario.id };
    const moments: Moment[] = [];
    const begin = performance.now();
    this.tell({ type: 'started', cell });
    const onMoment = (moment: Moment) => {
      moments.push(moment);
      this.tell({ type: 'moment', cell, moment });
    };
    const prefix = `lab-${scheme.id}-${scenario.id}-${randomBytes(3).toString('hex')}`;
    const played = lane
      ? play(scheme, scenario, lane, { ttlMs, prefix, onMoment })
      : Promise.reject(new Error('the lab was closed'));
    const outcome = await played.then(
      (payouts) => ({ payouts, actual: verdictOf(payouts) }),
      (error: unknown) => ({
        payouts: 0,
        actual: 'failed' as const,
        error: error instanceof Error ? error.message : String(error),
      }),
    );
    const result: CellResult = {
      ...cell,
      ...outcome,
      expected: expected ?? 'holds',
      asExpected: outcome.actual === (expected ?? 'holds'),
      moments,
      tookMs: Math.round(performance.now() - begin),
    };
    this.last.set(`${cell.scheme} ${cell.scenario}`, result);
    this.tell({ type: 'finished', result });
    return result;
  }

  private tell(event: LabEvent): void {
    for (const listener of this.listeners) listener(event);
  }
}

function schemeOf(id: string): Scheme {
  const scheme = schemes.find((it) => it.id === id);
  if (!scheme)
    throw new RangeError(`there is no scheme ${id}; there are ${schemes.map((it) => it.id).join(', ')}`);
  return scheme;
}

/** Whether it takes down servers that other cells use. */
function goesAlone({ scheme, scenario: { strikes } }: Programme): boolean {
  return strikes === 'database-down' || (strikes !== undefined && scheme.needs.includes('zookeeper'));
}

function verdictOf(payouts: number): Verdict {
  if (payouts === 0) return 'never-pays';
  return payouts === 1 ? 'holds' : 'pays-twice';
}
