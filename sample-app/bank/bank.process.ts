import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { extname } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL(`external/bank.main${extname(import.meta.url)}`, import.meta.url));

/** A bank of the app's own, on a free port. It ends when this process does, however that ends. */
export class BankProcess {
  private constructor(
    readonly url: string,
    private readonly child: ChildProcess,
  ) {}

  /** @throws Error with what it wrote when it does not start. */
  static async start(payoutMs: number): Promise<BankProcess> {
    const child = spawn(process.execPath, [...process.execArgv, MAIN], {
      env: { ...process.env, BANK_LATENCY_MS: String(payoutMs), BANK_PORT: '0' },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      // Ctrl-C in a terminal is for the app, which lets running refunds finish: they need their bank.
      detached: true,
    });
    let errors = '';
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (errors += text));
    for await (const line of createInterface({ input: child.stdout! })) {
      const url = /http:\/\/\S+/.exec(line)?.[0];
      if (!url) continue;
      child.stdout!.resume();
      child.stderr!.removeAllListeners('data').pipe(process.stderr);
      return new BankProcess(url, child);
    }
    throw new Error(`The bank did not start:\n${errors}`);
  }

  async end(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = once(this.child, 'exit');
    this.child.kill();
    await gone;
  }
}
