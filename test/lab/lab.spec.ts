import type { CellResult } from '../../sample-app/lab/timeline.js';
import { startProcess, type TestProcess } from '../support/processes.js';

const LAB = new URL('../../sample-app/lab/terminal.ts', import.meta.url);
const ALL_CELLS_MS = 300_000;

function lab(...args: string[]): TestProcess {
  return startProcess(LAB, { args });
}

async function resultsOf(process: TestProcess): Promise<{ results: CellResult[]; code: number | null }> {
  const { code, stderr } = await process.exited;
  if (process.lines.length === 0) throw new Error(stderr);
  return { results: JSON.parse(process.lines.join('\n')) as CellResult[], code };
}

/** What somebody who reads a failure wants to see. */
function shown({ scheme, scenario, actual, expected, error, moments }: CellResult) {
  return { cell: `${scheme} × ${scenario}`, actual, expected, error, moments };
}

/** Those that show the most in the least time; all of them, which takes three minutes more, with LAB_SCENARIOS=all. */
const SCENARIOS = ['burst', 'late-retry', 'crash-before-effect', 'node-restart'];
const chosen = process.env.LAB_SCENARIOS === 'all' ? [] : SCENARIOS;

describe('the lab', () => {
  it(
    'every scheme does what is expected of it, on real servers',
    async () => {
      await using process = lab('--json', '--lanes', '2', ...chosen.flatMap((id) => ['--scenario', id]));
      const { results, code } = await resultsOf(process);
      expect(results.filter(({ asExpected }) => !asExpected).map(shown)).toEqual([]);
      expect(code).toBe(0);
      expect(new Set(results.map(({ scheme }) => scheme)).size).toBe(14);
      for (const id of chosen) expect(results.map(({ scenario }) => scenario)).toContain(id);
      // Shipped or not: both kinds of answer are in it.
      expect(new Set(results.map(({ actual }) => actual)).size).toBe(3);
    },
    ALL_CELLS_MS,
  );

  it('without any server there is a part of it', async () => {
    await using process = lab(
      '--embedded',
      '--json',
      '--scheme',
      'select-then-insert',
      '--scenario',
      'burst',
    );
    const { results, code } = await resultsOf(process);
    expect(results).toMatchObject([{ actual: 'pays-twice', asExpected: true, payouts: 20 }]);
    expect(code).toBe(0);
  });

  it('names what it does not know', async () => {
    await using process = lab('--scheme', 'rdlock');
    const { code, stderr } = await process.exited;
    expect(code).toBe(2);
    expect(stderr).toMatch(/--scheme is rdlock; it must be one of unique-index, .*redlock/);
  });
});
