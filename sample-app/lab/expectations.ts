import { databaseExpectations } from './expectations/databases.expectations.js';
import { lockExpectations } from './expectations/locks.expectations.js';
import { markerExpectations } from './expectations/markers.expectations.js';
import { notApplicable, paysTwice, type Row, type ScenarioId } from './expectations/row.js';
import type { Expectation } from './verdict.js';

/** What each cell of the matrix should show. */
export const expectations = {
  ...databaseExpectations,
  ...lockExpectations,
  ...markerExpectations,
} satisfies Record<string, Row>;

/** Where the database is a SQLite file, without any server, some cells are others. */
const embedded: Partial<Record<string, Partial<Row>>> = {
  'unique-index': {
    'crash-after-effect': paysTwice(
      'The payout stands and its record does not: SQLite is one connection here, so the two are not in one transaction. The next attempt, after the lease, pays again.',
    ),
  },
};
const FILE = notApplicable('The database is a file of this machine; no server can go down.');
const ONE_CONNECTION = notApplicable(
  'It pays in a transaction, which would keep the only connection to a SQLite file from everybody else.',
);

/** @throws Error when nobody has said what is to be expected. */
export function expectationOf(scheme: string, scenario: string, isEmbedded: boolean): Expectation {
  const row = (expectations as Readonly<Record<string, Row>>)[scheme];
  const expectation = row?.[scenario as ScenarioId];
  if (!expectation) throw new Error(`expectations.ts does not say what ${scheme} does in ${scenario}`);
  if (!isEmbedded) return expectation;
  if (scheme === 'state-machine') return ONE_CONNECTION;
  if (scenario === 'store-down' && expectation.verdict !== 'not-applicable') return FILE;
  return embedded[scheme]?.[scenario as ScenarioId] ?? expectation;
}
