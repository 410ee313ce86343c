import type { Case, Way } from './callers.js';

const COLUMNS: [title: [string, string], cell: (played: Case) => string | number][] = [
  [['', 'order'], ({ orderId }) => orderId],
  [['', 'sent'], ({ sent }) => sent],
  [['', 'ran'], ({ ran }) => ran],
  [['', 'replayed'], ({ replayed }) => replayed],
  [['refused:', 'still running'], ({ stillRunning }) => stillRunning],
  [['refused:', 'other amount'], ({ otherAmount }) => otherAmount],
  [['payouts in', 'the ledger'], ({ ledgerRows }) => ledgerRows],
  [['', 'late duplicate'], lateDuplicate],
];

/** A table of what was sent for each order, and what came of it. */
export function table(ways: readonly (readonly [Way, readonly Case[]])[]): string {
  const rows = ways.map(([, cases]) =>
    cases.map((played) => COLUMNS.map(([, cell]) => String(cell(played)))),
  );
  const titles = [0, 1].map((line) => COLUMNS.map(([title]) => title[line]!));
  const widths = COLUMNS.map((_, i) => Math.max(...[...titles, ...rows.flat()].map((row) => row[i]!.length)));
  const lineOf = (row: string[]) =>
    `  ${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('   ')}`.trimEnd();
  const groups = ways.map(([way], i) => [`\n${way.title}`, ...rows[i]!.map(lineOf)].join('\n'));
  return [...titles.map(lineOf), ...groups].join('\n');
}

/** What is wrong, a line each; nothing when money left exactly once and everybody was told the same. */
export function problemsOf(played: Case): string[] {
  const { orderId, ran, ledgerRows, otherAmount, answers, late, surprises } = played;
  const different = answers.filter((body) => !body.equals(answers[0]!)).length;
  return [
    ...[...new Set(surprises)].map(
      (one) => `${surprises.filter((other) => other === one).length} times ${one}`,
    ),
    ...(ledgerRows === 1 ? [] : [`the ledger has ${ledgerRows} payouts, expected is 1`]),
    ...(ran === 1 ? [] : [`the refund ran ${ran} times, expected is once`]),
    ...(different === 0 ? [] : [`${different} answers are not the bytes of the first`]),
    ...(late?.isReplayed ? [] : ['the late duplicate was not answered with the recorded answer']),
    ...(otherAmount === 1 ? [] : ['the same key with another amount was not refused']),
  ].map((problem) => `${orderId}: ${problem}`);
}

function lateDuplicate({ answers, late }: Case): string {
  const isSame = late?.isReplayed === true && answers.every((body) => body.equals(late.body));
  return isSame ? `same ${late.body.length} bytes` : 'DIFFERENT';
}
