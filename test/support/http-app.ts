import { NestFactory } from '@nestjs/core';
import type { INestApplication, Type } from '@nestjs/common';
import { Module } from '@nestjs/common';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { type IdempotencyModuleOptions, IdempotencyModule, memoryLock, memoryStore } from 'nestjs-idempotent';

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
  send(path: string, options?: SendOptions): Promise<Answer>;
  /** POST with an Idempotency-Key. */
  post(path: string, key: string | null, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
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
    logger: false,
    forceCloseConnections: true,
  });
  await options.setup?.(app);
  await app.listen(0, '127.0.0.1');
  const url = `http://127.0.0.1:${(app.getHttpServer().address() as { port: number }).port}`;
  const send = (path: string, request: SendOptions = {}) => fetchAnswer(url + path, request);
  const close = () => app.close();
  return {
    app,
    url,
    send,
    post: (path, key, body, headers = {}) =>
      send(path, {
        method: 'POST',
        body,
        headers: { ...(key === null ? {} : { 'idempotency-key': key }), ...headers },
      }),
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
  const bytes = Buffer.from(await response.arrayBuffer());
  const text = bytes.toString('utf8');
  let json: any;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined; // not JSON, the test looks at the text
  }
  return { status: response.status, headers: response.headers, body: bytes, text, json };
}
