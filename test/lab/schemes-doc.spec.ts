import { readFileSync } from 'node:fs';
import { expectations } from '../../sample-app/lab/expectations.js';
import type { Expectation } from '../../sample-app/lab/verdict.js';

const COLUMNS = [
  ...['burst', 'late-retry', 'slow-handler', 'pause', 'crash-before-effect', 'crash-after-effect'],
  ...['node-restart', 'failover', 'store-down', 'sharded', 'payload-change'],
];

/** In the order of the matrix. */
const ROWS = [
  ...[
    'unique-index',
    'select-then-insert',
    'redis-lock-naive',
    'redis-lock',
    'lock-only',
    'lock-only-long-ttl',
  ],
  ...['zookeeper-lock', 'sql-lock', 'sql-quorum-lock', 'redis-replica', 'redlock', 'redlock-delayed-restart'],
  ...['lock-and-store', 'state-machine'],
];

const SIGNS: Record<Expectation['verdict'], string> = {
  holds: 'ok',
  'pays-twice': '**2x**',
  'never-pays': '**0x**',
  'not-applicable': '·',
};

describe.each(['docs/schemes.md', 'docs/schemes.zh.md'])('%s', (file) => {
  const text = readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
  const rows = text.split('\n').filter((line) => /^\| \d/.test(line));

  it('says of each scheme and scenario what the lab expects', () => {
    const cells = rows.map((row) =>
      row
        .split('|')
        .slice(4, -1)
        .map((cell) => cell.trim()),
    );
    const table = expectations as Record<string, Record<string, Expectation>>;
    expect(Object.keys(table).toSorted()).toEqual(ROWS.toSorted());
    expect(cells).toEqual(ROWS.map((scheme) => COLUMNS.map((it) => SIGNS[table[scheme]![it]!.verdict])));
  });

  it('has a section for each scheme, which its row leads to', () => {
    const headings = [...text.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading!);
    const anchors = headings.map((heading) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N} -]/gu, '')
        .replaceAll(' ', '-'),
    );
    expect(rows.map((row) => /\(#(.+?)\)/.exec(row)?.[1])).toEqual(anchors);
  });
});
