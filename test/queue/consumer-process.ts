import { startProcess, type TestProcess } from '../support/processes.js';
import type { ConsumerSetup, Told } from './fixtures/commands.js';

/** A payment service in a process of its own. */
export class ConsumerProcess implements AsyncDisposable {
  private constructor(readonly process: TestProcess) {}

  static start(setup: ConsumerSetup, env: Record<string, string> = {}): Promise<ConsumerProcess> {
    return ConsumerProcess.of('consumer', { CONSUMER: JSON.stringify(setup), ...env });
  }

  /** @param program of the folder `fixtures`. */
  static async of(program: string, env: Record<string, string>): Promise<ConsumerProcess> {
    const process = startProcess(new URL(`./fixtures/${program}.ts`, import.meta.url), { env });
    await process.waitForMessage((told) => 'ready' in (told as Told));
    return new ConsumerProcess(process);
  }

  /** The handler runs for this refund. */
  began(refundId: string): Promise<unknown> {
    return this.process.waitForMessage((told) => (told as { began?: string }).began === refundId);
  }

  /** The money of this refund has left. */
  paid(refundId: string): Promise<unknown> {
    return this.process.waitForMessage((told) => (told as { paid?: string }).paid === refundId);
  }

  /** How many messages of this refund are done. */
  acknowledgements(refundId: string): number {
    const isOf = (told: unknown) => (told as { acknowledged?: string }).acknowledged === refundId;
    return this.process.messages.filter(isOf).length;
  }

  /** How often the handler began for this refund. */
  runs(refundId: string): number {
    return this.process.messages.filter((told) => (told as { began?: string }).began === refundId).length;
  }

  /** Lets the handler of this refund go on. */
  go(refundId: string): Promise<void> {
    return this.process.send({ go: refundId });
  }

  /** What it has logged as errors. */
  get errors(): string[] {
    return (this.process.messages as Told[]).flatMap((told) => ('logged' in told ? [told.logged] : []));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.process.stop();
  }
}
