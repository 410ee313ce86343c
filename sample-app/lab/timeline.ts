import type { Verdict } from './verdict.js';

/** One entry of a cell's timeline. */
export interface Moment {
  /** Since the cell began, in milliseconds. */
  readonly atMs: number;
  /** Whose it is: `payment-1` …, `queue`, or a server: `redis-master`, `redis-3`, `database`, `zookeeper-2` … */
  readonly lane: string;
  readonly kind:
    | 'sent'
    | 'delivered'
    | 'answered'
    /** What the scheme says of itself: locks taken, lost, given back. */
    | 'note'
    | 'payout'
    | 'error'
    /** A process or a server is killed, stopped, promoted, emptied. */
    | 'fault'
    /** It is back. */
    | 'healed';
  readonly text: string;
}

export interface CellName {
  readonly scheme: string;
  readonly scenario: string;
}

export interface CellResult extends CellName {
  /** `failed`: the lab itself could not play it; `error` says why. */
  readonly actual: Verdict | 'failed';
  /** Of an experiment: `holds`. */
  readonly expected: Verdict;
  readonly asExpected: boolean;
  readonly error?: string;
  readonly payouts: number;
  readonly moments: readonly Moment[];
  readonly tookMs: number;
}

/** In order, for each cell: `started`, moments, `finished`. Several cells run at once. */
export type LabEvent =
  | { readonly type: 'started'; readonly cell: CellName }
  | { readonly type: 'moment'; readonly cell: CellName; readonly moment: Moment }
  | { readonly type: 'finished'; readonly result: CellResult };
