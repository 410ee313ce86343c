import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Environment } from '../config/environment.js';

const MAIN = fileURLToPath(new URL(`../main${extname(import.meta.url)}`, import.meta.url));

/** Long enough for all duplicates to arrive while the first is still running. */
export const PAYOUT_MS = 250;

/** The sample app in a process of its own, on a free port, with its defaults and a fresh SQLite file. */
export class DemoApp implements AsyncDisposable {
  private constructor(
    readonly url: string,
    private readonly child: ChildProcess,
    private readonly folder: string,
  ) {}

  /** @throws Error with what the app wrote when it does not start. */
  static async start(): Promise<DemoApp> {
    const folder = mkdtempSync(join(tmpdir(), 'nestjs-idempotent-demo-'));
    // What the environment says is for the app, not for the demo.
    const blank = Object.fromEntries(Object.keys(new Environment()).map((name) => [name, '']));
    const DATABASE_URL = `sqlite:${join(folder, 'demo.sqlite')}`;
    const child = spawn(process.execPath, [...process.execArgv, MAIN], {
      env: { ...process.env, ...blank, PORT: '0', BANK_LATENCY_MS: String(PAYOUT_MS), DATABASE_URL },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
    for await (const line of createInterface({ input: child.stdout })) {
      const url = /http:\/\/\S+/.exec(line)?.[0];
      if (url) return new DemoApp(url, child, folder);
    }
    rmSync(folder, { recursive: true, force: true });
    throw new Error(`The app did not start:\n${errors}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const gone = once(this.child, 'exit');
      this.child.kill();
      await gone;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
