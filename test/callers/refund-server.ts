import { startProcess, type TestProcess } from '../support/processes.js';
import { sharedRedisUrl } from '../support/shared-servers.js';
import type { Told } from './fixtures/refunds.js';

export const LEASE_MS = 500;
/** On a busy machine. */
export const START_MS = 60_000;

/** A server that pays out refunds, in a process of its own. */
export class RefundServer {
  private constructor(
    readonly process: TestProcess,
    readonly port: number,
  ) {}

  /** @param kind which adapter or engine it has. */
  static async start(fixture: string, kind: string): Promise<RefundServer> {
    const process = startProcess(new URL(`./fixtures/${fixture}`, import.meta.url), {
      env: { REDIS_URL: sharedRedisUrl(), KIND: kind, LEASE_MS: String(LEASE_MS) },
    });
    const told = await process.waitForMessage((message) => 'ready' in (message as Told), START_MS);
    return new RefundServer(process, (told as { ready: number }).ready);
  }

  /** The handler waits for `go`. */
  began(name: string): Promise<unknown> {
    return this.process.waitForMessage((told) => (told as { began?: string }).began === name);
  }

  ended(name: string): Promise<unknown> {
    return this.process.waitForMessage((told) => (told as { ended?: string }).ended === name);
  }

  /** Lets the handler go on. */
  go(name: string): Promise<void> {
    return this.process.send({ go: name });
  }
}
