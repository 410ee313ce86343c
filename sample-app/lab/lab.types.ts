import type { CellName, CellResult, LabEvent } from './timeline.js';
import type { Expectation } from './verdict.js';

/** One field of the matrix. */
export interface Cell extends CellName {
  readonly expectation: Expectation;
  /** Set when it cannot be played here: a server is missing. */
  readonly unavailable?: Unavailable;
}

export interface Unavailable {
  /** E.g. `ZooKeeper is not installed`. */
  readonly reason: string;
  /** What installs it, to be typed into a terminal. */
  readonly install: string;
}

/** An experiment of the visitor's own. */
export interface ExperimentOptions {
  readonly scheme: string;
  /** 1 to 50, all at once. */
  readonly duplicates: number;
  /** 200 to 10 000. */
  readonly ttlMs: number;
  /** 0 to 20 000. */
  readonly bankLatencyMs: number;
}

/** Tells its moments as those of a cell whose scenario is called `experiment`. */
export interface Experiment {
  readonly finished: Promise<CellResult>;
  /** SIGKILLs a payment service that is at work, if there is one. Returns its name. */
  kill(): Promise<string | undefined>;
  /** One duplicate more, now. */
  sendOne(): Promise<void>;
}

/** Plays cells on real servers, which it starts when they are needed and ends with `close`. */
export interface LabContract {
  readonly schemes: readonly {
    id: string;
    number: number;
    kind: 'shipped' | 'exhibit';
    name: string;
    claim: string;
  }[];
  readonly scenarios: readonly { id: string; name: string; story: string; only?: string }[];
  /** Scheme by scheme. */
  cells(): Promise<Cell[]>;
  /** The last result of each cell that was played. */
  results(): CellResult[];
  /** Returns what ends the subscription. */
  subscribe(listener: (event: LabEvent) => void): () => void;
  /** Several cells at once where they do not disturb each other; the same cell never twice at a time. Never rejects for what a cell shows. */
  run(cells: readonly CellName[]): Promise<CellResult[]>;
  /** @throws RangeError that names the option, its value and the limits. */
  experiment(options: ExperimentOptions): Promise<Experiment>;
  close(): Promise<void>;
}
