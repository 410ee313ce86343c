import { createHmac, timingSafeEqual } from 'node:crypto';

/** How old a signature may be, and how far ahead of this clock: what somebody has overheard is worth nothing later. */
const TOLERANCE_MS = 300_000;

/**
 * Whether a webhook comes from who knows the secret. The header is `t=<seconds>,v1=<hex>`, as Stripe has it: `v1` is the
 * HMAC-SHA256 of `<t>.<body>`, there once for every secret that is valid at the moment.
 *
 * @param body as it came: another order of its keys would be another signature.
 */
export function isSigned(
  header: string | undefined,
  body: Buffer | undefined,
  secret: string,
  nowMs = Date.now(),
): boolean {
  const fields = (header ?? '').split(',').map((field) => field.trim());
  const [seconds, ...others] = valuesOf('t', fields);
  if (!body || !seconds || others.length > 0 || !/^\d{1,12}$/.test(seconds)) return false;
  if (Math.abs(nowMs - 1_000 * Number(seconds)) > TOLERANCE_MS) return false;
  const expected = createHmac('sha256', secret).update(`${seconds}.`).update(body).digest();
  const given = valuesOf('v1', fields).filter((value) => /^[0-9a-f]{64}$/i.test(value));
  // A plain comparison would tell by its time how much of a guess is right.
  return given.some((value) => timingSafeEqual(Buffer.from(value, 'hex'), expected));
}

function valuesOf(name: string, fields: string[]): string[] {
  return fields.filter((field) => field.startsWith(`${name}=`)).map((field) => field.slice(name.length + 1));
}
