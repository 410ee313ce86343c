import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import {
  type Exit,
  type ProcessOptions,
  startProcess as start,
  type TestProcess,
} from '../../lib/testing/index.js';
import { startGuard, started, stopped } from '../../sample-app/servers/cleanup.js';

export type { Exit, ProcessOptions, TestProcess };

const LOADER = new URL('./loader.mjs', import.meta.url).href;

/**
 * Runs a TypeScript or JavaScript file in a Node process of its own, in which `nestjs-idempotent` is lib/. It is
 * ended with the spec file, or with the test run, however that ends.
 *
 * @param file a path from the root of the repository, or a URL: `new URL('./fixtures/x.ts', import.meta.url)`
 */
export function startProcess(file: string | URL, options: ProcessOptions = {}): TestProcess {
  const root = fileURLToPath(new URL('../../', import.meta.url));
  const execArgv = ['--enable-source-maps', '--import', LOADER, ...(options.execArgv ?? [])];
  const path = typeof file === 'string' ? pathToFileURL(resolve(root, file)) : file;
  const child = started(start(path, { ...options, execArgv }));
  const guard = startGuard('KILL');
  guard.watch(child.pid);
  void child.exited.then(() => {
    guard.dismiss();
    stopped(child);
  });
  return child;
}
