import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import { type AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { type Answer, fetchAnswer } from '../support/http-app.js';
import { startProcess, type TestProcess } from '../support/processes.js';
import { PATIENCE_MS, sqliteUrl } from './sample-app.js';

const BANK_MAIN = 'sample-app/bank/external/bank.main.ts';

/** The external bank, started by hand. */
export class TestBank implements AsyncDisposable {
  private constructor(
    readonly url: string,
    readonly process: TestProcess,
  ) {}

  static async start(): Promise<TestBank> {
    const BANK_FILE = sqliteUrl().slice('sqlite:'.length);
    const process = startProcess(BANK_MAIN, { env: { BANK_PORT: '0', BANK_FILE, BANK_LATENCY_MS: '0' } });
    const [, url] = await process.waitForLine(/^Bank at (\S+)/, PATIENCE_MS);
    return new TestBank(url!, process);
  }

  payOut(key: string | undefined, body: object): Promise<Answer> {
    const headers: Record<string, string> = key === undefined ? {} : { 'idempotency-key': key };
    return fetchAnswer(`${this.url}/payouts`, { method: 'POST', body, headers });
  }

  async ledger(orderId: string): Promise<{ orderId: string; amount: number }[]> {
    return (await fetchAnswer(`${this.url}/payouts?orderId=${orderId}`, {})).json;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.process.stop();
  }
}

/** What happens to the payout of an order on its way to the bank and back. */
export interface Journey {
  /** Awaited before the bank is asked. */
  readonly before?: () => Promise<void>;
  /** The bank has paid; its reply goes no further. */
  readonly paid?: () => void;
}

/** Stands before a bank. Payouts of orders that are in `journeys` fare as it says there. */
export async function startFront(
  bank: TestBank,
  journeys: Map<string, Journey>,
): Promise<{ url: string; close: () => void }> {
  const forward = async (request: IncomingMessage, response: ServerResponse) => {
    const body = request.method === 'POST' ? await text(request) : undefined;
    const journey = body === undefined ? undefined : journeys.get(JSON.parse(body).orderId);
    await journey?.before?.();
    const headers = { 'idempotency-key': String(request.headers['idempotency-key']) };
    const answer = await fetchAnswer(bank.url + request.url!, { method: request.method!, body, headers });
    if (journey?.paid) return journey.paid();
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(answer.body);
  };
  const server = createServer((request, response) => void forward(request, response)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
