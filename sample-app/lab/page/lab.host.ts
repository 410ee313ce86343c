import { type BeforeApplicationShutdown, Injectable, Logger, type OnModuleDestroy } from '@nestjs/common';
import { Observable, Subject } from 'rxjs';
import { Environment } from '../../config/environment.js';
import { missingServers } from '../../servers/server-packages.js';
import { Problem } from '../../problem.js';
import { Lab } from '../lab.js';
import type { Cell, Experiment, ExperimentOptions, LabContract } from '../lab.types.js';
import type { CellName, LabEvent, Moment } from '../timeline.js';
import { type CellReport, type LabPageEvent, type LabState, nameOf, summaryOf } from './lab.events.js';

/** Without them the lab can play what it plays inside of its own processes, and nothing else. */
const BASICS = ['postgresql', 'rabbitmq'];

/**
 * The lab of this app, made when somebody first looks, and what visitors may do with it. However often they ask, a cell
 * waits or is played once at a time, and so is the experiment: there is never more to do than the matrix has cells.
 */
@Injectable()
export class LabHost implements OnModuleDestroy, BeforeApplicationShutdown {
  private readonly logger = new Logger('Lab');
  private readonly events = new Subject<LabPageEvent>();
  private readonly waiting = new Map<string, CellName>();
  private readonly running = new Map<string, { readonly cell: CellName; readonly moments: Moment[] }>();
  private made: LabContract | undefined;
  private experiment: Promise<Experiment> | undefined;

  constructor(private readonly environment: Environment) {}

  async matrix(): Promise<{
    schemes: LabContract['schemes'];
    scenarios: LabContract['scenarios'];
    cells: Cell[];
  }> {
    const { schemes, scenarios } = this.lab;
    return {
      schemes: schemes.map(({ id, number, kind, name, claim }) => ({ id, number, kind, name, claim })),
      scenarios: scenarios.map(({ id, name, story, only }) => ({ id, name, story, ...(only && { only }) })),
      cells: await this.lab.cells(),
    };
  }

  get state(): LabState {
    return {
      waiting: [...this.waiting.values()],
      running: [...this.running.values()].map(({ cell }) => cell),
      results: this.lab.results().map(summaryOf),
    };
  }

  /** What happens from now on, after how far everything is. Ends with the app. */
  watch(): Observable<LabPageEvent> {
    return new Observable((watcher) => {
      watcher.next({ type: 'state', state: this.state });
      return this.events.subscribe(watcher);
    });
  }

  report(cell: CellName): CellReport | null {
    const name = nameOf(cell);
    const last = this.lab.results().find((result) => nameOf(result) === name);
    const now = this.running.get(name);
    if (!last && !now) return null;
    return {
      isRunning: now !== undefined,
      moments: now?.moments ?? last!.moments,
      result: last ? summaryOf(last) : null,
    };
  }

  /** @returns how many cells were added to those that wait. */
  async run(wanted: Partial<CellName>): Promise<number> {
    const { schemes, scenarios } = this.lab;
    checkName('scheme', wanted.scheme, schemes);
    checkName('scenario', wanted.scenario, scenarios);
    const asked = (await this.lab.cells()).filter(
      ({ scheme, scenario }) =>
        scheme === (wanted.scheme ?? scheme) && scenario === (wanted.scenario ?? scenario),
    );
    const playable = asked.filter(
      ({ expectation, unavailable }) => !unavailable && expectation.verdict !== 'not-applicable',
    );
    if (playable.length === 0) throw notHere(asked);
    const added = playable
      .map(({ scheme, scenario }) => ({ scheme, scenario }))
      .filter((cell) => !this.waiting.has(nameOf(cell)) && !this.running.has(nameOf(cell)));
    for (const cell of added) {
      this.waiting.set(nameOf(cell), cell);
      this.events.next({ type: 'waiting', cell });
    }
    this.lab.run(added).catch((error: unknown) => this.logger.error(error));
    return added.length;
  }

  /** @throws Problem when there is one already, or its servers are not here. */
  async begin(options: ExperimentOptions): Promise<void> {
    checkName('scheme', options.scheme, this.lab.schemes);
    const cells = await this.lab.cells();
    const missing = cells.filter(({ scheme }) => scheme === options.scheme);
    if (missing.every(({ unavailable }) => unavailable)) throw notHere(missing);
    if (this.experiment) {
      throw new Problem('lab-busy', 'An experiment is under way; wait until it is over.');
    }
    const cell = { scheme: options.scheme, scenario: 'experiment' };
    this.waiting.set(nameOf(cell), cell);
    this.events.next({ type: 'waiting', cell });
    // Nothing is awaited between looking and this, so that there is one at a time.
    const experiment = this.lab.experiment(options);
    this.experiment = experiment;
    experiment
      .then(({ finished }) => finished)
      .catch((error: unknown) => this.logger.error(error))
      .finally(() => (this.experiment = undefined));
    await experiment;
  }

  /** @returns the name of who was killed; null when nobody was at work. */
  async kill(): Promise<string | null> {
    const experiment = await this.current;
    return (await experiment.kill()) ?? null;
  }

  async sendOne(): Promise<void> {
    const experiment = await this.current;
    await experiment.sendOne();
  }

  /** Before the server waits for the connections that listen. */
  onModuleDestroy(): void {
    this.events.complete();
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.made?.close();
  }

  private get current(): Promise<Experiment> {
    if (this.experiment) return this.experiment;
    throw new Problem('lab-idle', 'There is no experiment under way; start one.');
  }

  private get lab(): LabContract {
    if (this.made) return this.made;
    const lacksBasics = missingServers().some(({ brew }) => BASICS.includes(brew));
    this.made = new Lab({ embedded: this.environment.LAB === 'embedded' || lacksBasics });
    this.made.subscribe((event) => this.tell(event));
    return this.made;
  }

  private tell(event: LabEvent): void {
    switch (event.type) {
      case 'started':
        this.waiting.delete(nameOf(event.cell));
        this.running.set(nameOf(event.cell), { cell: event.cell, moments: [] });
        return this.events.next(event);
      case 'moment':
        this.running.get(nameOf(event.cell))?.moments.push(event.moment);
        return this.events.next(event);
      case 'finished':
        this.running.delete(nameOf(event.result));
        return this.events.next({ type: 'finished', result: summaryOf(event.result) });
    }
  }
}

function checkName(what: string, id: string | undefined, known: readonly { id: string }[]): void {
  if (id === undefined || known.some((it) => it.id === id)) return;
  throw new Problem(
    'invalid-request',
    `There is no such ${what}; there are ${known.map((it) => it.id).join(', ')}.`,
  );
}

function notHere(cells: readonly Cell[]): Problem {
  const missing = cells.find(({ unavailable }) => unavailable)?.unavailable;
  const why = missing
    ? `It ${missing.reason}. To install it: ${missing.install}`
    : (cells[0]?.expectation.why ?? 'The scenario is not for this scheme.');
  return new Problem('lab-unavailable', why);
}
