import type { CellName, CellResult, Moment } from '../timeline.js';

/** A result without its timeline, of which there may be hundreds on a page. */
export type CellSummary = Omit<CellResult, 'moments'>;

/** How far everything is. The first thing that whoever listens is told. */
export interface LabState {
  readonly waiting: readonly CellName[];
  readonly running: readonly CellName[];
  readonly results: readonly CellSummary[];
}

export type LabPageEvent =
  | { readonly type: 'state'; readonly state: LabState }
  | { readonly type: 'waiting'; readonly cell: CellName }
  | { readonly type: 'started'; readonly cell: CellName }
  | { readonly type: 'moment'; readonly cell: CellName; readonly moment: Moment }
  | { readonly type: 'finished'; readonly result: CellSummary };

/** One cell, as far as it is. */
export interface CellReport {
  readonly isRunning: boolean;
  readonly moments: readonly Moment[];
  /** Of the last time it was played to its end. */
  readonly result: CellSummary | null;
}

export function nameOf({ scheme, scenario }: CellName): string {
  return `${scheme}/${scenario}`;
}

export function summaryOf({ moments: _moments, ...summary }: CellResult): CellSummary {
  return summary;
}
