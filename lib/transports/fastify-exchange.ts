import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { finished, Readable } from 'node:stream';
import type { StoredResponse } from '../stores/result-store.js';
import { hideClose } from './hidden-close.js';
import {
  type CaptureObserver,
  hasNoBody,
  type HttpExchange,
  muted,
  REPLAYED_HEADER,
} from './http-exchange.js';

/** What we use of Fastify's reply. */
export interface FastifyReplyLike {
  readonly raw: ServerResponse;
  statusCode: number;
  code(status: number): unknown;
  header(name: string, value: string | string[]): unknown;
  removeHeader(name: string): unknown;
  getHeaders(): OutgoingHttpHeaders;
  send(payload?: unknown): unknown;
}

/** What we use of a Fastify instance. */
export interface FastifyLike {
  addHook(
    name: 'onSend',
    hook: (request: unknown, reply: FastifyReplyLike, payload: unknown) => Promise<unknown>,
  ): unknown;
}

interface Capture {
  readonly maxBytes: number;
  readonly observer: CaptureObserver;
  revealClose?: () => void;
}

/** Instances that have the hook. */
const installed = new WeakSet<FastifyLike>();

/** Replies whose answer is to be held back. */
const captures = new WeakMap<FastifyReplyLike, Capture>();

/** Fastify, at its wire: one `onSend` hook, which lies before those that compress. */
export class FastifyExchange implements HttpExchange {
  constructor(private readonly reply: FastifyReplyLike) {}

  /** To be called as early as possible, and before the routes are registered: hooks run in their order. */
  static install(fastify: FastifyLike): void {
    if (installed.has(fastify)) return;
    installed.add(fastify);
    fastify.addHook('onSend', async (_request, reply, payload) => {
      const capture = captures.get(reply);
      if (!capture) return payload;
      captures.delete(reply);
      return hold(reply, payload, capture);
    });
  }

  setHeader(name: string, value: string): void {
    this.reply.header(name, value);
  }

  capture(maxBytes: number, observer: CaptureObserver): void {
    const { reply } = this;
    captures.set(reply, { maxBytes, observer });
    reply.raw.once('close', () => closed(reply));
  }

  shield(): void {
    const { reply } = this;
    const capture = captures.get(reply);
    if (capture) capture.revealClose ??= hideClose(reply.raw, () => closed(reply));
  }

  async replay(stored: StoredResponse): Promise<void> {
    const { reply } = this;
    reply.header(REPLAYED_HEADER, 'true');
    reply.send(applyAnswer(reply, stored));
    Object.assign(reply, SENDING);
    // Hooks that follow ours (compression) set headers yet.
    await new Promise<void>((resolve) => finished(reply.raw, () => resolve()));
    Object.assign(reply, HEADERS);
  }
}

/** Nest still replies once a replay is out; these keep it from sending a second time. */
const SENDING = muted('send', 'redirect', 'view');
const HEADERS = muted('code', 'status', 'header', 'headers', 'type', 'removeHeader');

/** @returns the payload to send. */
function applyAnswer(reply: FastifyReplyLike, { status, headers, body }: StoredResponse): Buffer | undefined {
  reply.code(status ?? 200);
  for (const name in headers) reply.header(name, headers[name]!);
  const isEmpty = !body || body.length === 0 || hasNoBody(status ?? 200);
  return isEmpty ? undefined : Buffer.from(body.buffer, body.byteOffset, body.length);
}

function closed(reply: FastifyReplyLike): void {
  const capture = captures.get(reply);
  if (!capture) return;
  const { observer, revealClose } = capture;
  if (!reply.raw.writableFinished) return observer.cut();
  // Written past the hooks (`reply.raw`): there is nothing to come. After a mere disconnect there is.
  captures.delete(reply);
  revealClose?.();
  void observer.answered({ status: reply.raw.statusCode, headers: {}, body: null });
}

async function hold(reply: FastifyReplyLike, payload: unknown, capture: Capture): Promise<unknown> {
  const { maxBytes, observer } = capture;
  const collected =
    isStream(payload) && !isEventStream(reply)
      ? await collect(payload, maxBytes)
      : { body: bytesOf(payload), rest: payload };
  const { body, rest } = collected;
  const substitute = await observer.answered({
    status: reply.statusCode,
    headers: reply.getHeaders(),
    body: body && body.length <= maxBytes ? body : null,
  });
  capture.revealClose?.();
  if (!substitute) return rest;
  for (const name of Object.keys(reply.getHeaders())) {
    if (name.startsWith('content-')) reply.removeHeader(name);
  }
  return applyAnswer(reply, substitute);
}

/**
 * Reads a stream up to the limit.
 *
 * @returns the whole as `body`, or null with what has been read and what is to come as `rest`. A stream that
 * fails is handed on as one that fails, for Fastify to deal with as it does.
 */
async function collect(stream: Readable, maxBytes: number): Promise<{ body: Buffer | null; rest: unknown }> {
  const source = stream[Symbol.asyncIterator]() as AsyncIterator<Uint8Array | string>;
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for (let next = await source.next(); !next.done; next = await source.next()) {
      chunks.push(Buffer.from(next.value as Uint8Array));
      bytes += next.value.length;
      if (bytes > maxBytes) return { body: null, rest: Readable.from(continued(chunks, source)) };
    }
  } catch (error) {
    return { body: null, rest: Readable.from(failing(chunks, error)) };
  }
  const body = Buffer.concat(chunks);
  return { body, rest: body };
}

async function* continued(
  chunks: Buffer[],
  source: AsyncIterator<Uint8Array | string>,
): AsyncGenerator<Uint8Array | string> {
  yield* chunks;
  for (let next = await source.next(); !next.done; next = await source.next()) yield next.value;
}

// eslint-disable-next-line require-yield
async function* failing(chunks: Buffer[], error: unknown): AsyncGenerator<Buffer> {
  yield* chunks;
  throw error;
}

/** Has no end the client is to wait for. */
function isEventStream(reply: FastifyReplyLike): boolean {
  return String(reply.getHeaders()['content-type']).startsWith('text/event-stream');
}

function isStream(payload: unknown): payload is Readable {
  return typeof (payload as Readable | null)?.pipe === 'function';
}

/** @returns null for a payload whose bytes we do not know (a web stream or response). */
function bytesOf(payload: unknown): Buffer | null {
  if (payload === undefined || payload === null) return Buffer.alloc(0);
  if (typeof payload === 'string') return Buffer.from(payload);
  return payload instanceof Uint8Array ? Buffer.from(payload) : null;
}
