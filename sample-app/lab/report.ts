import type { Cell, LabContract } from './lab.types.js';
import type { CellResult } from './timeline.js';

const WORDS = {
  holds: 'holds',
  'pays-twice': 'PAYS TWICE',
  'never-pays': 'NEVER PAYS',
  failed: 'the lab failed',
} as const;

const SIGNS = {
  holds: 'ok',
  'pays-twice': '2x',
  'never-pays': '0x',
  failed: '??',
  'not-applicable': '·',
} as const;

/** Of a column, in characters. */
const WIDTH = 5;

/** One line. */
export function cellText({
  scheme,
  scenario,
  actual,
  expected,
  asExpected,
  payouts,
  error,
  tookMs,
}: CellResult): string {
  const what = `${scheme.padEnd(24)} ${scenario.padEnd(20)} ${WORDS[actual].padEnd(14)}`;
  const paid = error ?? `${payouts} ${payouts === 1 ? 'payout' : 'payouts'}`;
  const time = `${(tookMs / 1_000).toFixed(1)} s`;
  return `${asExpected ? '✓' : '✗'} ${what} ${paid}, ${time}${asExpected ? '' : `; expected: ${WORDS[expected]}`}`;
}

/** Schemes down, scenarios across. */
export function matrixText(
  { schemes, scenarios }: Pick<LabContract, 'schemes' | 'scenarios'>,
  cells: readonly Cell[],
  results: readonly CellResult[],
): string {
  const columns = scenarios.filter(({ id }) => cells.some(({ scenario }) => scenario === id));
  const rows = schemes.filter(({ id }) => cells.some(({ scheme }) => scheme === id));
  const lines = rows.map(({ id, number, kind, name }) => {
    const fields = columns.map((column) => {
      const cell = cells.find((it) => it.scheme === id && it.scenario === column.id);
      const result = results.find((it) => it.scheme === id && it.scenario === column.id);
      return sign(cell, result).padEnd(WIDTH);
    });
    return `${String(number).padStart(2)} ${name.slice(0, 38).padEnd(38)} ${kind.padEnd(8)} ${fields.join('')}`;
  });
  const head = `${' '.repeat(51)}${columns.map((_, at) => String.fromCodePoint(97 + at).padEnd(WIDTH)).join('')}`;
  const legend = columns.map(({ name }, at) => `   ${String.fromCodePoint(97 + at)} ${name}`);
  return [
    head,
    ...lines,
    '',
    ...legend,
    '',
    'ok one payout   2x two or more   0x none   ! not as expected   · means nothing here   - cannot be played here',
  ].join('\n');
}

function sign(cell: Cell | undefined, result: CellResult | undefined): string {
  if (!cell) return '';
  if (result) return `${SIGNS[result.actual]}${result.asExpected ? '' : '!'}`;
  return cell.unavailable ? '-' : SIGNS[cell.expectation.verdict];
}
