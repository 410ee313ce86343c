import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';

export interface Seen {
  readonly method: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** How one request is answered: a status, maybe with headers, or by hand. */
export type Scripted =
  number | readonly [status: number, headers: Record<string, string>] | ((response: ServerResponse) => void);

/** Answers as it was told, request by request, and 201 when it was told nothing more. */
export class ScriptedServer implements AsyncDisposable {
  readonly seen: Seen[] = [];
  private script: Scripted[] = [];
  private readonly server = createServer((request, response) => void this.answer(request, response));

  async listen(): Promise<this> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    return this;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Forgets what it has seen. */
  will(...script: Scripted[]): void {
    this.script = script;
    this.seen.length = 0;
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await buffer(request);
    this.seen.push({ method: request.method!, headers: request.headers, body });
    const next = this.script.shift() ?? 201;
    if (typeof next === 'function') return next(response);
    const [status, headers] = typeof next === 'number' ? [next, {}] : next;
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(status === 204 ? undefined : JSON.stringify({ number: this.seen.length }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.server, 'close');
    this.server.close();
    this.server.closeAllConnections();
    await closed;
  }
}
