/**
 * The wait a `Retry-After` header asks for (RFC 9110, 10.2.3): seconds, or a date, which is measured by the clock of
 * who sent it as far as its `Date` header tells.
 *
 * @returns milliseconds, or undefined when it says nothing that can be read.
 */
export function retryAfterMs(value: string | undefined, date: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d+$/.test(value)) return 1_000 * Number(value);
  const until = /^[a-z]/i.test(value) ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(until)) return undefined;
  const now = Date.parse(date ?? '');
  return Math.max(0, until - (Number.isNaN(now) ? Date.now() : now));
}
