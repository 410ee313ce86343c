/** `npm run lab`: the matrix, or a part of it, played and compared with what is expected. */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { Cell } from './lab.types.js';
import { Lab } from './lab.js';
import { cellText, matrixText } from './report.js';
import type { CellResult, LabEvent } from './timeline.js';

const USAGE = `npm run lab -- [options]

  --scheme <id>      only this scheme; may be repeated
  --scenario <id>    only this scenario; may be repeated
  --embedded         only what needs no server: npm run lab:embedded
  --lanes <n>        how many cells are played at a time (3)
  --timeline         prints what happened in each cell
  --json             prints the results as JSON, and nothing else
  --list             names schemes and scenarios
`;

/** How long servers may take to end in an orderly way. */
const CLOSE_MS = 10_000;

const { values } = parseArgs({
  options: {
    scheme: { type: 'string', multiple: true, default: [] },
    scenario: { type: 'string', multiple: true, default: [] },
    embedded: { type: 'boolean', default: false },
    lanes: { type: 'string', default: '3' },
    timeline: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

const lab = new Lab({ embedded: values.embedded, lanes: lanesOf(values.lanes) });
if (values.help) {
  console.log(USAGE);
} else if (values.list) {
  for (const { id, name } of [...lab.schemes, ...lab.scenarios]) console.log(`${id.padEnd(24)} ${name}`);
} else {
  // What has not ended by now ends with this process.
  process.exit(await main());
}

/** @returns the exit code: 0 when everything is as expected. */
async function main(): Promise<number> {
  checkNames('scheme', values.scheme, lab.schemes);
  checkNames('scenario', values.scenario, lab.scenarios);
  const cells = (await lab.cells()).filter(
    ({ scheme, scenario }) => matches(values.scheme, scheme) && matches(values.scenario, scenario),
  );
  const playable = cells.filter(
    ({ expectation, unavailable }) => !unavailable && expectation.verdict !== 'not-applicable',
  );
  if (!values.json) lab.subscribe(progress(playable.length));
  try {
    const begin = performance.now();
    const results = await lab.run(playable);
    if (values.json) console.log(JSON.stringify(results, null, 2));
    else report(cells, results, performance.now() - begin);
    return results.every(({ asExpected }) => asExpected) ? 0 : 1;
  } finally {
    await Promise.race([lab.close(), sleep(CLOSE_MS)]);
  }
}

function progress(total: number): (event: LabEvent) => void {
  let done = 0;
  return (event) => {
    if (event.type !== 'finished') return;
    done++;
    console.log(`${String(done).padStart(3)}/${total}  ${cellText(event.result)}`);
  };
}

function report(cells: readonly Cell[], results: readonly CellResult[], tookMs: number): void {
  if (values.timeline) {
    for (const { scheme, scenario, moments } of results) {
      console.log(`\n${scheme} · ${scenario}`);
      for (const { atMs, lane, text } of moments) {
        console.log(`${String(atMs).padStart(7)} ms  ${lane.padEnd(14)} ${text}`);
      }
    }
  }
  console.log(`\n${matrixText(lab, cells, results)}`);
  const wrong = results.filter(({ asExpected }) => !asExpected);
  for (const result of wrong) console.log(`NOT AS EXPECTED  ${cellText(result)}`);
  const seconds = Math.round(tookMs / 1_000);
  console.log(`${results.length} cells in ${seconds} s, ${wrong.length} not as expected`);
}

function matches(wanted: readonly string[], id: string): boolean {
  return wanted.length === 0 || wanted.includes(id);
}

function checkNames(option: string, wanted: readonly string[], known: readonly { id: string }[]): void {
  for (const id of wanted) {
    if (known.some((it) => it.id === id)) continue;
    console.error(`--${option} is ${id}; it must be one of ${known.map((it) => it.id).join(', ')}`);
    process.exit(2);
  }
}

function lanesOf(text: string): number {
  const lanes = Number(text);
  if (Number.isInteger(lanes) && lanes >= 1 && lanes <= 16) return lanes;
  console.error(`--lanes is ${text}; it must be a whole number from 1 to 16`);
  process.exit(2);
}
