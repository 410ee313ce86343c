import { deserialize, serialize } from 'node:v8';
import { BackendUnavailableError } from './engine/backend.js';
import type { Ownership } from './engine/ownership.js';
import { IdempotencyError, IdempotencyOptionsError } from './idempotency.errors.js';
import type { StepRecord, StepStore } from './stores/step-store.js';

/**
 * A call of a route with `complete: true` is kept beside its recovery points, under a name that no step of a handler
 * can have: it begins with a space. So it outlives attempts and goes with its record, on every store that keeps steps.
 */
const NAME = ' call';

/**
 * The call as it is kept.
 *
 * @throws IdempotencyOptionsError naming the argument that cannot be kept.
 */
export function storedCall(label: string, args: readonly unknown[], maxBytes: number): StepRecord {
  const refuse = (what: string) =>
    new IdempotencyOptionsError(
      `@Idempotent on ${label}: complete is true, so its arguments are stored, but ${what}; ` +
        'give the method plain data (an id, say) and let it look up the rest',
    );
  args.forEach((arg, at) => {
    if (!isCloneable(arg)) throw refuse(`argument ${at} holds what structuredClone cannot copy`);
  });
  const bytes = serialize(args);
  if (bytes.length > maxBytes) {
    throw refuse(`they have ${bytes.length} bytes, more than maxResponseBytes, which is ${maxBytes}`);
  }
  return { name: NAME, position: -1, result: JSON.stringify({ label, args: bytes.toString('base64') }) };
}

/**
 * Keeps the call before its body begins. If that fails the key is free again.
 *
 * @throws IdempotencyError `unavailable`, or `lease-lost`: nothing was begun.
 */
export async function keepCall(ownership: Ownership, call: StepRecord): Promise<void> {
  try {
    await ownership.recordStep(call);
  } catch (cause) {
    await ownership.release('forget');
    if (!(cause instanceof BackendUnavailableError)) throw cause;
    throw new IdempotencyError('unavailable', { retryAfterMs: 1_000, cause });
  }
}

/** The arguments of a kept call; undefined when there is none of that route, or a newer Node has written it. */
export async function keptArguments(
  steps: StepStore,
  id: string,
  label: string,
): Promise<unknown[] | undefined> {
  const kept = (await steps.list(id)).find(({ name }) => name === NAME);
  if (!kept) return undefined;
  const call = JSON.parse(kept.result) as { label: string; args: string };
  if (call.label !== label) return undefined;
  try {
    return deserialize(Buffer.from(call.args, 'base64')) as unknown[];
  } catch {
    return undefined;
  }
}

function isCloneable(value: unknown): boolean {
  try {
    serialize(value);
    return true;
  } catch {
    return false;
  }
}
