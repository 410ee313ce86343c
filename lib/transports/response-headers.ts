import type { OutgoingHttpHeaders } from 'node:http';

/** Replayed unless the option `responseHeaders` says otherwise. */
export const DEFAULT_RESPONSE_HEADERS: readonly string[] = [
  'location',
  'etag',
  'link',
  'last-modified',
  'content-*',
];

/** Of the first answer only: of its connection, its moment, its caller, or made anew by the server. */
const FORBIDDEN = new Set([
  'set-cookie',
  'date',
  'age',
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'www-authenticate',
  'content-length',
  'content-encoding',
  'traceparent',
  'tracestate',
  'baggage',
  'server-timing',
  'x-request-id',
  'x-correlation-id',
  'x-trace-id',
  'x-amzn-trace-id',
  'x-cloud-trace-context',
  'retry-after',
  'idempotent-replayed',
]);
const FORBIDDEN_PREFIXES = ['x-ratelimit', 'x-rate-limit', 'ratelimit', 'x-b3-'];

export function isForbiddenHeader(name: string): boolean {
  const lower = name.toLowerCase();
  return FORBIDDEN.has(lower) || FORBIDDEN_PREFIXES.some((prefix) => lower.startsWith(prefix));
}

/** Selects what is replayed; several values of one header stay several. */
export type HeaderSelection = (headers: OutgoingHttpHeaders) => Record<string, string | string[]>;

/** @param allowed names; one may end in `*`. */
export function headerSelection(allowed: readonly string[]): HeaderSelection {
  const names = new Set(allowed.map((name) => name.toLowerCase()));
  const prefixes = [...names].filter((name) => name.endsWith('*')).map((name) => name.slice(0, -1));
  const isAllowed = (name: string) =>
    (names.has(name) || prefixes.some((prefix) => name.startsWith(prefix))) && !isForbiddenHeader(name);
  return (headers) => {
    const selected: Record<string, string | string[]> = {};
    for (const header in headers) {
      const value = headers[header];
      const name = header.toLowerCase();
      if (value !== undefined && isAllowed(name))
        selected[name] = Array.isArray(value) ? value.map(String) : String(value);
    }
    return selected;
  };
}
