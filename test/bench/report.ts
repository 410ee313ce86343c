import type { Report, Side, VariantReport } from './bench.js';

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const median = (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)! };
}

/** Tables for people: medians of the rounds, with smallest and largest. */
export function printed({ variants, rounds, node }: Report): string {
  const sides = (kind: 'fresh' | 'replay') =>
    variants.map((variant) => row(variant, variant[kind])).filter((cells) => cells.length > 0);
  const head = [
    'of the bare handler',
    'of its floor',
    'requests/s',
    'app CPU/request',
    'Redis commands (in scripts)',
    'SQL',
  ];
  const others = variants.filter(({ bytesPerRunningKey }) => bytesPerRunningKey !== undefined);
  return [
    `${rounds} rounds, Node ${node}, Express, 32 keep-alive connections; median (min-max) of the ratios inside a round`,
    table(['First request', ...head], sides('fresh')),
    table(['Replay', ...head], sides('replay')),
    table(
      ['Duplicate of a call that runs in the same process', 'round trips', 'memory per running key'],
      others.map(({ label, duplicateCommands, bytesPerRunningKey }) => [
        label,
        number(duplicateCommands!),
        `${Math.round(bytesPerRunningKey!)} bytes`,
      ]),
    ),
  ].join('\n\n');
}

function row({ label }: VariantReport, side: Side | undefined): string[] {
  if (!side) return [];
  const { ofBare, ofFloor, perSecond, cpuMicros, redisCommands, redisCommandsInScripts, sqlStatements } =
    side;
  const commands = Object.entries(redisCommands ?? {}).map(([name, n]) => `${number(n)} ${name}`);
  return [
    label,
    ratio(ofBare),
    ofFloor ? ratio(ofFloor) : '',
    String(Math.round(perSecond.median)),
    `${Math.round(cpuMicros.median)} µs`,
    commands.length > 0
      ? commands.join(', ') + (redisCommandsInScripts ? ` (${number(redisCommandsInScripts)})` : '')
      : '',
    sqlStatements ? number(sqlStatements) : '',
  ];
}

export function ratio({ median, min, max }: Spread): string {
  return `${median.toFixed(2)} (${min.toFixed(2)}-${max.toFixed(2)})`;
}

export function number(n: number): string {
  return String(Math.round(n * 10) / 10);
}

/** In Markdown, in columns. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((cells) => cells[column]!.length)),
  );
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}
