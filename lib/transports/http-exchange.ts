import type { OutgoingHttpHeaders } from 'node:http';
import { StreamableFile } from '@nestjs/common';
import type { IdempotencyError } from '../idempotency.errors.js';
import type { IdempotentCall } from '../idempotency.call.js';
import type { StoredResponse } from '../stores/result-store.js';

/** An answer as it is about to leave: after every interceptor, serializer and filter. */
export interface CapturedAnswer {
  readonly status: number;
  readonly headers: OutgoingHttpHeaders;
  /** null: too large, an open-ended stream, or cut off. */
  readonly body: Buffer | null;
}

/** Who decides about an answer that is being held back. */
export interface CaptureObserver {
  /**
   * Called once, before the first byte leaves. The answer goes out when the promise resolves: as it is, or
   * what the promise resolves to in its place.
   */
  answered(answer: CapturedAnswer): Promise<StoredResponse | undefined>;
  /** The connection closed, or was written to behind our back, and no answer came by. */
  cut(): void;
}

/** One request and its response, whatever the platform. */
export interface HttpExchange {
  setHeader(name: string, value: string): void;
  /** Holds back what is written from now on, up to `maxBytes`. */
  capture(maxBytes: number, observer: CaptureObserver): void;
  /** For an answer that streams: keeps it whole although its client may go away. Only while it is held back. */
  shield(): void;
  /** Sends a stored answer. Once it resolves, whatever Nest or an interceptor writes is ignored. */
  replay(response: StoredResponse): Promise<void>;
}

export const REPLAYED_HEADER = 'Idempotent-Replayed';

/** The headers that go with a refusal; its body is the error's own. */
export function problemHeaders({ retryAfterMs }: IdempotencyError): Record<string, string> {
  return {
    'content-type': 'application/problem+json; charset=utf-8',
    'cache-control': 'no-store',
    ...(retryAfterMs === undefined
      ? {}
      : { 'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / 1_000))) }),
  };
}

/** A refusal as an answer, for when it replaces one that is already on its way. */
export function problemResponse(error: IdempotencyError): StoredResponse {
  return {
    status: error.getStatus(),
    headers: problemHeaders(error),
    body: Buffer.from(JSON.stringify(error.problem)),
  };
}

/** A request of Express or Fastify. Express parses the query each time it is asked for it. */
export class HttpCall implements IdempotentCall {
  readonly transport = 'http';
  readonly user: any;
  readonly body: any;
  readonly params: any;
  readonly headers: any;
  readonly route: string | undefined;
  readonly payload = undefined;
  readonly args: readonly any[] = [];

  constructor(
    readonly request: any,
    readonly scope: string,
  ) {
    this.user = request.user;
    this.body = request.body;
    this.params = request.params;
    this.headers = request.headers;
    this.route = request.routeOptions?.url ?? request.route?.path;
  }

  get query(): any {
    return this.request.query;
  }
}

/** Whether Nest sends a value piece by piece, and stops when the client is gone. */
export function isStreaming(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return (
    value instanceof StreamableFile ||
    'pipe' in value ||
    'getReader' in value ||
    Symbol.asyncIterator in value
  );
}

/** Statuses whose answer has no body. */
export function hasNoBody(status: number): boolean {
  return status === 204 || status === 205 || status === 304;
}

/** Methods that do nothing, for a response that has been sent. */
export function muted(...methods: string[]): Record<string, () => unknown> {
  const method = function (this: unknown) {
    return this;
  };
  return Object.fromEntries(methods.map((name) => [name, method]));
}
