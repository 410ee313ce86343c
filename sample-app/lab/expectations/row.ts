import type { Expectation } from '../verdict.js';

/** Those that every scheme is put through. */
type CommonScenario =
  | 'burst'
  | 'late-retry'
  | 'slow-handler'
  | 'pause'
  | 'crash-before-effect'
  | 'crash-after-effect'
  | 'node-restart'
  | 'failover'
  | 'store-down'
  | 'sharded'
  | 'payload-change';

/** Those about one scheme. */
type OwnScenario = 'same-timestamp' | 'get-del-gap';

export type ScenarioId = CommonScenario | OwnScenario;

/** A cell that is missing does not compile. */
export type Row = Readonly<Record<CommonScenario, Expectation> & Partial<Record<OwnScenario, Expectation>>>;

export function holds(why: string): Expectation {
  return { verdict: 'holds', why };
}

export function paysTwice(why: string): Expectation {
  return { verdict: 'pays-twice', why };
}

export function neverPays(why: string): Expectation {
  return { verdict: 'never-pays', why };
}

export function notApplicable(why: string): Expectation {
  return { verdict: 'not-applicable', why };
}
