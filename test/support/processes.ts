import { join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type Exit,
  type ProcessOptions,
  startProcess as start,
  type TestProcess,
} from '../../lib/testing/index.js';
import { startGuard, started, stopped } from '../../sample-app/servers/cleanup.js';

export type { Exit, ProcessOptions, TestProcess };

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const LOADER = new URL('./loader.mjs', import.meta.url).href;
/** Where Jest's global setup has compiled it all to: a process starts in half the time. */
const COMPILED = process.env.TEST_COMPILED;

/**
 * Runs a TypeScript or JavaScript file in a Node process of its own, in which `nestjs-idempotent` is lib/. It is
 * ended with the spec file, or with the test run, however that ends.
 *
 * @param file a path from the root of the repository, or a URL: `new URL('./fixtures/x.ts', import.meta.url)`
 */
export function startProcess(file: string | URL, options: ProcessOptions = {}): TestProcess {
  const path = typeof file === 'string' ? resolve(ROOT, file) : fileURLToPath(file);
  const loader = COMPILED ? [] : ['--import', LOADER];
  const execArgv = ['--enable-source-maps', ...loader, ...(options.execArgv ?? [])];
  const child = started(start(COMPILED ? compiled(COMPILED, path) : path, { ...options, execArgv }));
  const guard = startGuard('KILL');
  guard.watch(child.pid);
  void child.exited.then(() => {
    guard.dismiss();
    stopped(child);
  });
  return child;
}

function compiled(folder: string, path: string): string {
  return path.endsWith('.ts') ? join(folder, relative(ROOT, path).replace(/ts$/, 'js')) : path;
}
