import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startGuard } from '../../servers/cleanup.js';
import type { Order, Report } from './messages.js';

const MAIN = fileURLToPath(new URL(`./payment-service.process${extname(import.meta.url)}`, import.meta.url));
/** Connecting may take as long as a server needs to come up again. */
const PATIENCE_MS = 60_000;

/** A payment service in a process of its own. Plays one part after the other, until it is killed. */
export class PaymentService {
  private readonly guard = startGuard('KILL');
  private readonly child: ChildProcess;
  private readonly exited: Promise<unknown>;
  private stderr = '';
  private isAlive = true;

  private constructor(
    readonly name: string,
    private listener: (report: Report) => void,
  ) {
    // NODE_OPTIONS are those of whoever runs the lab.
    const { NODE_OPTIONS: _, ...env } = process.env;
    this.child = fork(MAIN, { env, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    this.guard.watch(this.child.pid);
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.child.on('message', (report: Report) => this.listener(report));
    // A message that a dead process does not get is no error: its end is told.
    this.child.on('error', () => undefined);
    this.exited = once(this.child, 'exit').then(() => {
      this.isAlive = false;
      this.guard.dismiss();
    });
  }

  static async start(name: string): Promise<PaymentService> {
    const service = new PaymentService(name, () => undefined);
    try {
      await service.until('up');
      return service;
    } catch (error) {
      await service.kill();
      throw error;
    }
  }

  get alive(): boolean {
    return this.isAlive;
  }

  listen(listener: (report: Report) => void): void {
    this.listener = listener;
  }

  send(order: Order): void {
    if (this.isAlive) this.child.send(order, () => undefined);
  }

  /** Sends it, and waits until it is done. */
  async ask(order: Order, until: 'opened' | 'closed'): Promise<void> {
    const done = this.until(until);
    this.send(order);
    await done;
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exited;
  }

  freeze(): void {
    this.child.kill('SIGSTOP');
  }

  thaw(): void {
    this.child.kill('SIGCONT');
  }

  private async until(type: Report['type']): Promise<void> {
    const others = this.listener;
    let timer: NodeJS.Timeout | undefined;
    try {
      await Promise.race([
        new Promise<void>((done, failed) => {
          this.listener = (report) => {
            if (report.type === type) done();
            else if (report.type === 'failed') failed(new Error(report.error));
            else others(report);
          };
          const late = () => failed(new Error(`${this.name} was not ${type} within ${PATIENCE_MS} ms`));
          timer = setTimeout(late, PATIENCE_MS);
        }),
        this.exited.then(() => Promise.reject(new Error(`${this.name} ended: ${this.stderr.slice(-2_000)}`))),
      ]);
    } finally {
      clearTimeout(timer);
      this.listener = others;
    }
  }
}
