import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { finished, type Readable } from 'node:stream';
import type { StoredResponse } from '../stores/result-store.js';
import { hideClose } from './hidden-close.js';
import {
  type CaptureObserver,
  hasNoBody,
  type HttpExchange,
  muted,
  REPLAYED_HEADER,
} from './http-exchange.js';
import { Overlay } from './overlay.js';

type Callback = (error?: Error | null) => void;

/**
 * Express, at its wire: `write` and `end` of the one response. Middleware that wraps them earlier
 * (compression) lies further out: what is held here is the plain body, and it is compressed on its way.
 */
export class ExpressExchange implements HttpExchange {
  private held: HeldResponse | undefined;

  constructor(private readonly response: ServerResponse) {}

  setHeader(name: string, value: string): void {
    this.response.setHeader(name, value);
  }

  capture(maxBytes: number, observer: CaptureObserver): void {
    this.held = new HeldResponse(this.response, maxBytes, observer);
    this.held.hold();
  }

  shield(): void {
    this.held?.shield();
  }

  replay(stored: StoredResponse): Promise<void> {
    this.response.setHeader(REPLAYED_HEADER, 'true');
    return sendStored(this.response, stored);
  }
}

/** Nest still replies once a stored answer is out; these keep it from writing to a response that has ended. */
const SENDING = new Overlay(muted('status', 'send', 'json', 'redirect', 'render', 'write', 'end'));
const HEADERS = new Overlay(muted('type', 'set', 'header', 'setHeader', 'removeHeader', 'writeHead'));

/** Resolves when its headers are out: a layer that compresses may need a while, and sets some of them. */
async function sendStored(response: ServerResponse, stored: StoredResponse): Promise<void> {
  applyAnswer(response, stored);
  response.end(stored.body);
  SENDING.put(response);
  if (!response.headersSent) await new Promise<void>((resolve) => finished(response, () => resolve()));
  HEADERS.put(response);
}

function applyAnswer(response: ServerResponse, { status, headers, body }: StoredResponse): void {
  response.statusCode = status ?? 200;
  for (const name in headers) response.setHeader(name, headers[name]!);
  if (hasNoBody(response.statusCode)) response.removeHeader('Content-Length');
  else response.setHeader('Content-Length', body?.length ?? 0);
}

const held = new WeakMap<ServerResponse, HeldResponse>();

/** What leads to the wire, while a response is held back. */
const WIRE = new Overlay({
  write(this: ServerResponse, chunk: unknown, encoding: unknown, callback: unknown): boolean {
    return held.get(this)!.write(chunk, encoding, callback);
  },
  end(this: ServerResponse, chunk: unknown, encoding: unknown, callback: unknown): ServerResponse {
    return held.get(this)!.end(chunk, encoding, callback);
  },
  writeHead(this: ServerResponse, status: number, ...rest: unknown[]): ServerResponse {
    return held.get(this)!.writeHead(status, rest);
  },
  flushHeaders(this: ServerResponse): void {
    held.get(this)!.flushHeaders();
  },
  destroy(this: ServerResponse, error?: Error): ServerResponse {
    return held.get(this)!.destroy(error);
  },
  get headersSent(): boolean {
    return held.get(this as unknown as ServerResponse)!.headersLookSent;
  },
  get writableEnded(): boolean {
    return held.get(this as unknown as ServerResponse)!.ended;
  },
});

/**
 * A response that is held back until its answer is stored.
 *
 * While it is held it looks sent from the inside (`headersSent`, `writableEnded`), so that nobody adds a
 * second answer to it. An answer that outgrows the limit is stored without its body, and from then on
 * everything passes through.
 */
class HeldResponse {
  private readonly chunks: Buffer[] = [];
  private bytes = 0;
  private state: 'collecting' | 'settling' | 'passing' = 'collecting';
  ended = false;
  private readonly endCallbacks: Callback[] = [];
  private source: Readable | undefined;
  private revealClose: (() => void) | undefined;
  headersLookSent = false;
  private takeAway: (() => void) | undefined;

  constructor(
    private readonly response: ServerResponse,
    private readonly maxBytes: number,
    private readonly observer: CaptureObserver,
  ) {}

  hold(): void {
    const { response } = this;
    held.set(response, this);
    this.takeAway = WIRE.put(response);
    response.on('close', () => this.closed());
    // A stream piped by hand; those that Nest sends are announced.
    response.once('pipe', (source: Readable) => {
      this.source = source;
      this.shield();
    });
  }

  shield(): void {
    if (this.state === 'collecting') this.revealClose ??= hideClose(this.response, () => this.closed());
  }

  private closed(): void {
    if (!this.ended && this.state === 'collecting') this.observer.cut();
  }

  write(chunk: unknown, encoding: unknown, callback: unknown): boolean {
    if (this.ended) return false;
    this.headersLookSent = true;
    this.collect(chunk, encoding);
    later(typeof encoding === 'function' ? encoding : callback);
    if (this.state === 'collecting' && (this.bytes > this.maxBytes || this.isEventStream()))
      void this.settle(null);
    return this.state === 'collecting';
  }

  end(chunk: unknown, encoding: unknown, callback: unknown): ServerResponse {
    if (this.ended) return this.response;
    if (typeof chunk !== 'function') this.collect(chunk, encoding);
    this.ended = true;
    this.headersLookSent = true;
    const done = [chunk, encoding, callback].find((argument) => typeof argument === 'function');
    if (done) this.endCallbacks.push(done as Callback);
    // A source that broke ends half an answer: not to be repeated as if it were a whole one.
    const isWhole = this.bytes <= this.maxBytes && !this.source?.errored;
    if (this.state === 'collecting') void this.settle(isWhole ? this.collected : null);
    return this.response;
  }

  writeHead(status: number, rest: unknown[]): ServerResponse {
    const { response } = this;
    response.statusCode = status;
    if (typeof rest[0] === 'string') response.statusMessage = rest.shift() as string;
    const headers = rest[0] as OutgoingHttpHeaders | [string, string][] | string[] | undefined;
    for (const [name, value] of headerPairs(headers)) response.setHeader(name, value);
    this.headersLookSent = true;
    return response;
  }

  /** Headers wanted early: somebody streams, and the client is not to wait for the end. */
  flushHeaders(): void {
    void this.settle(null);
  }

  destroy(error: Error | undefined): ServerResponse {
    void this.tearDown(error);
    return this.response;
  }

  private get collected(): Buffer {
    return this.chunks.length === 1 ? this.chunks[0]! : Buffer.concat(this.chunks);
  }

  private collect(chunk: unknown, encoding: unknown): void {
    if (chunk === undefined || chunk === null) return;
    const bytes =
      typeof chunk === 'string'
        ? Buffer.from(chunk, typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8')
        : Buffer.from(chunk as Uint8Array);
    this.chunks.push(bytes);
    this.bytes += bytes.length;
  }

  /** @param body null: not to be stored; what is written meanwhile and later passes through. */
  private async settle(body: Buffer | null): Promise<void> {
    if (this.state !== 'collecting') return;
    this.state = 'settling';
    const { response } = this;
    const status = response.statusCode;
    const substitute = await this.observer.answered({ status, headers: response.getHeaders(), body });
    this.letGo();
    response.statusCode = status;
    if (response.destroyed) return this.endCallbacks.forEach(later);
    if (substitute && !response.headersSent) {
      for (const name of response.getHeaderNames()) {
        if (name.startsWith('content-')) response.removeHeader(name);
      }
      void sendStored(response, substitute);
    } else if (this.ended) {
      response.end(this.collected, () => this.endCallbacks.forEach((callback) => callback()));
    } else {
      if (this.chunks.length === 0) response.flushHeaders();
      else response.write(this.collected);
      response.emit('drain');
    }
  }

  /** Whoever answers gives up. */
  private async tearDown(error: Error | undefined): Promise<void> {
    if (this.state === 'collecting') {
      this.state = 'settling';
      const { response } = this;
      await this.observer.answered({
        status: response.statusCode,
        headers: response.getHeaders(),
        body: null,
      });
      this.letGo();
    }
    this.response.destroy(error);
  }

  private letGo(): void {
    this.state = 'passing';
    this.takeAway?.();
    this.revealClose?.();
  }

  private isEventStream(): boolean {
    return String(this.response.getHeader('content-type')).startsWith('text/event-stream');
  }
}

function headerPairs(
  headers: OutgoingHttpHeaders | [string, string][] | string[] | undefined,
): [string, string | string[]][] {
  if (!headers) return [];
  if (!Array.isArray(headers)) {
    return Object.entries(headers).filter(([, value]) => value !== undefined) as [
      string,
      string | string[],
    ][];
  }
  if (Array.isArray(headers[0])) return headers as [string, string][];
  return headers.flatMap((name, i) =>
    i % 2 === 0 ? [[name as string, headers[i + 1] as string] as [string, string]] : [],
  );
}

function later(callback: unknown): void {
  if (typeof callback === 'function') process.nextTick(callback);
}
