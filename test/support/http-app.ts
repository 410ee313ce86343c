import { connect } from 'node:net';
import { NestFactory } from '@nestjs/core';
import { type INestApplication, type LoggerService, Module, type Type } from '@nestjs/common';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import {
  type EngineCounters,
  IdempotencyModule,
  type IdempotencyModuleOptions,
  IdempotencyService,
  memoryLock,
  memoryStore,
  type ResultStore,
} from 'nestjs-idempotent';

export const PLATFORMS = ['express', 'fastify'] as const;
export type Platform = (typeof PLATFORMS)[number];

/** An answer as a client sees it. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer;
  readonly text: string;
  readonly json: any;
}

/** A running app and a client for it. */
export interface TestApp extends AsyncDisposable {
  readonly app: INestApplication;
  readonly url: string;
  readonly port: number;
  readonly counters: Readonly<EngineCounters>;
  send(path: string, options?: SendOptions): Promise<Answer>;
  /** POST with an Idempotency-Key. */
  post(path: string, key: string | null, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** POST of `{}` with these header lines as they are, over a socket of its own. */
  postRaw(path: string, headerLines: readonly string[]): Promise<Answer>;
  close(): Promise<void>;
}

export interface SendOptions {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: unknown;
  readonly signal?: AbortSignal;
}

export interface AppOptions {
  readonly platform?: Platform;
  readonly controllers?: Type[];
  readonly providers?: any[];
  readonly imports?: any[];
  readonly module?: Partial<IdempotencyModuleOptions>;
  /** Instead of silence. */
  readonly logger?: LoggerService;
  /** Before `listen`: global pipes, filters, interceptors, middleware. */
  readonly setup?: (app: INestApplication) => void | Promise<void>;
}

/** Starts a small app with the module on a free port. Principal: the `x-customer` header, else `public`. */
export async function startApp(options: AppOptions): Promise<TestApp> {
  const { platform = 'express', controllers = [], providers = [], imports = [], module = {} } = options;
  const settings: IdempotencyModuleOptions = {
    principal: ({ headers }) => headers?.['x-customer'] ?? 'public',
    store: memoryStore(),
    lock: memoryLock(),
    ...module,
  };
  @Module({ imports: [IdempotencyModule.forRoot(settings), ...imports], controllers, providers })
  class TestModule {}
  const adapter = platform === 'express' ? new ExpressAdapter() : new FastifyAdapter();
  const app = await NestFactory.create(TestModule, adapter as never, {
    logger: options.logger ?? false,
    abortOnError: false,
    forceCloseConnections: true,
  });
  await options.setup?.(app);
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as { port: number };
  const url = `http://127.0.0.1:${port}`;
  const send = (path: string, request: SendOptions = {}) => fetchAnswer(url + path, request);
  const close = () => app.close();
  return {
    app,
    url,
    port,
    get counters() {
      return app.get(IdempotencyService).counters;
    },
    send,
    post: (path, key, body, headers = {}) =>
      send(path, {
        method: 'POST',
        body,
        headers: { ...(key === null ? {} : { 'idempotency-key': key }), ...headers },
      }),
    postRaw: (path, headerLines) => postRaw(port, path, headerLines),
    close,
    [Symbol.asyncDispose]: close,
  };
}

export async function fetchAnswer(
  url: string,
  { method = 'GET', headers = {}, body, signal }: SendOptions,
): Promise<Answer> {
  const response = await fetch(url, {
    method,
    redirect: 'manual',
    ...(signal ? { signal } : {}),
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  return answer(response.status, response.headers, Buffer.from(await response.arrayBuffer()));
}

async function postRaw(port: number, path: string, headerLines: readonly string[]): Promise<Answer> {
  const lines = [
    ...[`POST ${path} HTTP/1.0`, 'host: 127.0.0.1', 'content-type: application/json', 'content-length: 2'],
    ...headerLines,
  ];
  const socket = connect(port, '127.0.0.1');
  // As Latin-1: a test says which bytes it sends.
  socket.write(`${lines.join('\r\n')}\r\n\r\n{}`, 'latin1');
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  const bytes = Buffer.concat(chunks);
  const headEnd = bytes.indexOf('\r\n\r\n');
  const [statusLine = '', ...fields] = bytes.subarray(0, headEnd).toString('latin1').split('\r\n');
  const pairs = fields.map((field): [string, string] => [
    field.split(':', 1)[0]!,
    field.slice(field.indexOf(':') + 1).trim(),
  ]);
  return answer(Number(statusLine.split(' ')[1]), new Headers(pairs), bytes.subarray(headEnd + 4));
}

function answer(status: number, headers: Headers, body: Buffer): Answer {
  const text = body.toString('utf8');
  let json: any;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined; // not JSON, the test looks at the text
  }
  return { status, headers, body, text, json };
}

/** The first answer again: same status, same bytes, same type, and marked. */
export function expectReplayOf(first: Answer, second: Answer): void {
  expect(second.text).toBe(first.text);
  expect(second.body.equals(first.body)).toBe(true);
  expect(second.status).toBe(first.status);
  expect(second.headers.get('content-type')).toBe(first.headers.get('content-type'));
  expect(second.headers.get('idempotent-replayed')).toBe('true');
  expect(first.headers.get('idempotent-replayed')).toBeNull();
}

/** A refusal by this library, complete. */
export function expectProblem(refusal: Answer, status: number, code: string): void {
  expect([refusal.status, refusal.json?.code]).toEqual([status, code]);
  expect(refusal.json).toMatchObject({ status, type: `urn:nestjs-idempotent:${code}` });
  expect(refusal.headers.get('content-type')).toMatch(/^application\/problem\+json\b/);
  expect(refusal.headers.get('cache-control')).toBe('no-store');
  expect(refusal.headers.get('idempotent-replayed')).toBeNull();
}

/** Something a test opens by hand: what waits for it goes on then. */
export class Gate {
  open!: () => void;
  readonly opened = new Promise<void>((resolve) => {
    this.open = resolve;
  });
}

/** Tries an expectation again until it holds, for at most ten seconds. For what has no event to await. */
export async function eventually<T>(expectation: () => T | Promise<T>): Promise<T> {
  const until = performance.now() + 10_000;
  for (;;) {
    try {
      return await expectation();
    } catch (error) {
      if (performance.now() > until) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

/** A store some methods of which do something else. */
export function altered(store: ResultStore, changes: Partial<ResultStore>): ResultStore {
  return new Proxy(store, {
    get: (target, name) => {
      const value: unknown = Reflect.get(changes, name) ?? Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Keeps what is logged. */
export class MemoryLogger implements LoggerService {
  readonly lines: string[] = [];

  log(): void {}

  warn(message: string): void {
    this.lines.push(`warn ${message}`);
  }

  error(message: string): void {
    this.lines.push(`error ${message}`);
  }
}
