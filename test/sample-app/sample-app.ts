import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { INestApplication } from '@nestjs/common';
import { createApp } from '../../sample-app/app.js';
import { Environment } from '../../sample-app/config/environment.js';
import { readEnvironment } from '../../sample-app/config/environment.reader.js';
import { type Answer, fetchAnswer } from '../support/http-app.js';
import { startProcess, type TestProcess } from '../support/processes.js';

export type Variables = Partial<Record<keyof Environment | 'TMPDIR', string>>;

/** A client for a running sample app. */
export class SampleClient {
  constructor(readonly url: string) {}

  get(path: string): Promise<Answer> {
    return fetchAnswer(this.url + path, {});
  }

  post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    return fetchAnswer(this.url + path, { method: 'POST', body, headers });
  }

  refund(
    orderId: string,
    key: string,
    amount = 100,
    options: { signal?: AbortSignal } = {},
  ): Promise<Answer> {
    const headers = { 'idempotency-key': key };
    return fetchAnswer(`${this.url}/refunds`, {
      method: 'POST',
      body: { orderId, amount },
      headers,
      ...options,
    });
  }

  async pay(...orderIds: string[]): Promise<void> {
    const answers = await Promise.all(
      orderIds.map((orderId) => this.post('/orders', { orderId, amount: 100 })),
    );
    for (const { status, text } of answers)
      if (status !== 201) throw new Error(`no order: ${status} ${text}`);
  }

  async ledger(
    orderId?: string,
  ): Promise<{ payoutId: string; orderId: string; amount: number; at: string }[]> {
    return (await this.get(`/ledger${orderId === undefined ? '' : `?orderId=${orderId}`}`)).json;
  }

  async metric(name: string): Promise<number> {
    const { text } = await this.get('/metrics');
    return Number(new RegExp(`^idempotency_${name} (\\d+)$`, 'm').exec(text)![1]);
  }
}

/** For tests that start processes: a machine with much else to do takes its time. */
export const PATIENCE_MS = 90_000;

/** The app in a process of its own. */
export class SampleProcess extends SampleClient implements AsyncDisposable {
  private constructor(
    url: string,
    readonly process: TestProcess,
  ) {
    super(url);
  }

  static async start(variables: Variables): Promise<SampleProcess> {
    const process = launch(variables);
    const [, url] = await process.waitForLine(/^Refunds at (\S+)/, PATIENCE_MS);
    return new SampleProcess(url!, process);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.process.stop();
  }
}

/** What runs may not start. The developer's own settings are not for it: blank counts as not given. */
export function launch(variables: Variables): TestProcess {
  const blank = Object.fromEntries(Object.keys(new Environment()).map((name) => [name, '']));
  return startProcess('sample-app/main.ts', { env: { ...blank, PORT: '0', ...variables } });
}

/** The app in this process, where a process of its own would show nothing more. */
export class SampleInside extends SampleClient implements AsyncDisposable {
  private constructor(
    url: string,
    readonly app: INestApplication,
  ) {
    super(url);
  }

  static async start(variables: Variables): Promise<SampleInside> {
    const app = await createApp(readEnvironment({ PORT: '0', ...variables }));
    await app.listen(0, '127.0.0.1');
    return new SampleInside(await app.getUrl(), app);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.app.close();
  }
}

const folders: string[] = [];
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

/** The address of a fresh SQLite file, gone at the end of the spec file. */
export function sqliteUrl(): string {
  const folder = mkdtempSync(join(tmpdir(), 'idempotent-sample-'));
  folders.push(folder);
  return `sqlite:${join(folder, 'shop.sqlite')}`;
}

/** Asks again and again until the answer is as expected. */
export async function eventually<T>(
  ask: () => Promise<T>,
  isIt: (answer: T) => boolean,
  timeoutMs = 10_000,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (isIt(answer)) return answer;
    if (performance.now() > deadline)
      throw new Error(`still ${JSON.stringify(answer)} after ${timeoutMs} ms`);
    await sleep(50);
  }
}
