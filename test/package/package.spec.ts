import { execFile } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import ts from 'typescript';

const exec = promisify(execFile);
const ROOT = resolve(import.meta.dirname, '../..');
const NAME = 'nestjs-idempotent';
const MINUTE_MS = 60_000;

interface Manifest {
  exports: Record<string, unknown>;
  dependencies: Record<string, string>;
  peerDependencies: Record<string, string>;
  peerDependenciesMeta: Record<string, { optional?: boolean }>;
}

const manifest: Manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
const optionalPeers = Object.keys(manifest.peerDependenciesMeta).filter(
  (name) => manifest.peerDependenciesMeta[name]?.optional,
);
const peers = Object.keys(manifest.peerDependencies);
const needed = [
  ...peers.filter((name) => !optionalPeers.includes(name)),
  ...Object.keys(manifest.dependencies),
];
const subpaths = Object.keys(manifest.exports).filter((path) => path !== './package.json');

let folder: string;
/** A project with the package and no optional peer. */
let bare: string;
/** A project with the package and all its peers. */
let full: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'idempotent-package-'));
  const tarball = await pack(join(folder, 'source'));
  bare = await project(join(folder, 'bare'), tarball, needed);
  full = await project(join(folder, 'full'), tarball, [...needed, ...optionalPeers]);
}, 3 * MINUTE_MS);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Builds the present source, not what happens to lie in dist/, and packs it as `npm publish` would. */
async function pack(target: string): Promise<string> {
  mkdirSync(target);
  for (const file of ['package.json', 'README.md', 'LICENSE', 'CHANGELOG.md']) {
    if (existsSync(join(ROOT, file))) cpSync(join(ROOT, file), join(target, file));
  }
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
  await exec(process.execPath, [tsc, '-p', join(ROOT, 'lib'), '--outDir', join(target, 'dist')]).catch(
    (error: { stdout: string }) => {
      throw new Error(`the library does not compile:\n${error.stdout}`);
    },
  );
  const { stdout } = await exec('npm', ['pack', '--json', '--ignore-scripts'], { cwd: target });
  return join(target, JSON.parse(stdout)[0].filename);
}

/** Extracted, not linked: what the package imports is looked for in the project, not in this repository. */
async function project(target: string, tarball: string, dependencies: string[]): Promise<string> {
  const modules = join(target, 'node_modules');
  mkdirSync(join(modules, NAME), { recursive: true });
  await exec('tar', ['-xzf', tarball, '-C', join(modules, NAME), '--strip-components=1']);
  for (const name of dependencies) {
    mkdirSync(dirname(join(modules, name)), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
  }
  writeFileSync(join(target, 'package.json'), '{}');
  return target;
}

/** Runs a program in the project and gives what it printed. */
async function run(cwd: string, code: string, type: 'module' | 'commonjs'): Promise<string> {
  const { NODE_OPTIONS: _, ...env } = process.env;
  const args = ['--unhandled-rejections=strict', '--no-warnings', `--input-type=${type}`, '-e', code];
  return (await exec(process.execPath, args, { cwd, env })).stdout.trim();
}

describe('without any optional peer', () => {
  it.each(optionalPeers)('%s cannot be resolved', async (name) => {
    await expect(run(bare, `import '${name}'`, 'module')).rejects.toThrow('ERR_MODULE_NOT_FOUND');
  });

  it('the root entry is imported', async () => {
    const code = `import { IdempotencyModule } from '${NAME}'; console.log(typeof IdempotencyModule)`;
    expect(await run(bare, code, 'module')).toBe('function');
  });

  it('the testing entry is imported, and its suites run under node:test', async () => {
    const code = `
      import * as runner from 'node:test';
      import { memoryLock } from '${NAME}';
      import { describeLockDriver } from '${NAME}/testing';
      describeLockDriver(runner, 'memory', async () => {
        const driver = memoryLock();
        return { driver, second: driver, cleanup: async () => undefined };
      });
    `;
    expect(await run(bare, code, 'module')).toMatch(/pass \d\d\n.*fail 0\n/s);
  });

  it('the root entry is required', async () => {
    const code = `console.log(typeof require('${NAME}').IdempotencyModule)`;
    expect(await run(bare, code, 'commonjs')).toBe('function');
  });
});

describe('with all peers', () => {
  it.each(subpaths)('%s is imported and required, and is one module', async (subpath) => {
    const entry = subpath.replace('.', NAME);
    const code = `
      const required = require('${entry}');
      import('${entry}').then((imported) => console.log(Object.keys(required).length > 0, imported === required));
    `;
    expect(await run(full, code, 'commonjs')).toBe('true true');
  });

  it.each(subpaths)('%s has types', (subpath) => {
    const { types } = manifest.exports[subpath] as { types: string };
    expect(existsSync(join(full, 'node_modules', NAME, types))).toBe(true);
  });
});

it('the module graph of the root entry holds no optional peer', () => {
  const dist = join(bare, 'node_modules', NAME, 'dist');
  const { packages, files } = graph(join(dist, 'index.js'));
  expect(files.size).toBeGreaterThan(1);
  expect([...packages].filter((name) => optionalPeers.includes(name))).toEqual([]);
});

it('the client loads nothing but itself: it is for programs without Nest too', () => {
  const dist = join(bare, 'node_modules', NAME, 'dist');
  const { packages, files } = graph(join(dist, 'client/index.js'));
  expect(files.size).toBeGreaterThan(1);
  expect([...packages]).toEqual([]);
});

it('imports nothing the package does not declare', () => {
  const dist = join(full, 'node_modules', NAME, 'dist');
  const used = new Set<string>();
  for (const subpath of subpaths) {
    const { default: entry } = manifest.exports[subpath] as { default: string };
    for (const name of graph(join(dist, '..', entry)).packages) used.add(name);
  }
  const declared = [...peers, ...Object.keys(manifest.dependencies)];
  expect([...used].filter((name) => !declared.includes(name))).toEqual([]);
});

/** What is loaded with a file: the static imports, followed through the package itself. */
function graph(file: string, files = new Set<string>(), packages = new Set<string>()) {
  if (files.has(file)) return { files, packages };
  files.add(file);
  const { statements } = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.ES2022);
  for (const statement of statements) {
    if (!ts.isImportDeclaration(statement) && !ts.isExportDeclaration(statement)) continue;
    if (!statement.moduleSpecifier || !ts.isStringLiteral(statement.moduleSpecifier)) continue;
    const specifier = statement.moduleSpecifier.text;
    if (specifier.startsWith('.')) graph(resolve(dirname(file), specifier), files, packages);
    else if (!specifier.startsWith('node:')) packages.add(packageOf(specifier));
  }
  return { files, packages };
}

function packageOf(specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}
