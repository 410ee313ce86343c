import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import ts from 'typescript';

const ROOT = resolve(import.meta.dirname, '../..');
const LOADER = join(ROOT, 'test/support/loader.mjs');

/** The files that the guide shows, by the name in their first line. */
const files = new Map(
  [
    ...readFileSync(join(ROOT, 'docs/writing-a-driver.md'), 'utf8').matchAll(/```ts\n\/\/ (\S+)\n(.*?)```/gs),
  ].map(([, name, code]) => [name!, code!]),
);

interface Run {
  readonly passed: number;
  readonly failed: string[];
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'idempotent-guide-'));
  for (const [name, code] of files) writeFileSync(join(folder, name), code);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs the guide's test by node:test, over the guide's driver with some text in place of another. */
async function run(name: string, from = '', to = ''): Promise<Run> {
  const driver = files.get('shelf-lock.ts')!;
  if (!driver.includes(from)) throw new Error(`the driver has no ${from}`);
  writeFileSync(join(folder, `${name}.ts`), driver.replace(from, to));
  const test = join(folder, `${name}.test.ts`);
  writeFileSync(test, files.get('shelf-lock.test.ts')!.replace('./shelf-lock.js', `./${name}.js`));
  const { NODE_OPTIONS: _, ...env } = process.env;
  const args = ['--unhandled-rejections=strict', '--import', LOADER, '--test-reporter=tap', test];
  const output = await new Promise<string>((done, failed) =>
    execFile(process.execPath, args, { env }, (error, stdout, stderr) =>
      stdout.includes('# pass') ? done(stdout) : failed(new Error(`${stdout}\n${stderr}`, { cause: error })),
    ),
  );
  const failed = [...output.matchAll(/^ +not ok \d+ - (.*)$/gm)].map(([, title]) => title!);
  return { passed: Number(/^# pass (\d+)$/m.exec(output)![1]), failed };
}

it('the guide shows a driver and its test', () => {
  expect([...files.keys()]).toEqual(['shelf-lock.ts', 'shelf-lock.test.ts']);
});

it('what it shows compiles', () => {
  const program = ts.createProgram(
    [...files.keys()].map((name) => join(folder, name)),
    {
      ...ts.parseJsonConfigFileContent(
        ts.readConfigFile(join(ROOT, 'tsconfig.json'), (file) => ts.sys.readFile(file)).config,
        ts.sys,
        ROOT,
      ).options,
      rootDir: undefined,
      typeRoots: [join(ROOT, 'node_modules/@types')],
      types: ['node'],
    },
  );
  const ours = program
    .getSourceFiles()
    .filter(({ fileName }) => fileName.startsWith(folder))
    .flatMap((file) => [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)]);
  expect(ours.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))).toEqual([]);
});

it('its driver passes the suite under node:test; a driver that breaks a promise does not', async () => {
  const [right, ...wrong] = await Promise.all([
    run('right'),
    run('not-its-own', 'held.token !== token) {', 'true) {'),
    run('same-fence', 'this.shelf.lastFence = clock >', 'return 1n; this.shelf.lastFence = clock >'),
  ]);
  expect(right.failed).toEqual([]);
  expect(right.passed).toBeGreaterThanOrEqual(13);
  const expected = [
    /^G03 recognises an attempt that was sent again/,
    /^G14 gives every new holder a greater fence/,
  ];
  for (const [i, { failed }] of wrong.entries())
    expect(failed).toContainEqual(expect.stringMatching(expected[i]!));
}, 120_000);
