import { IsBoolean } from 'class-validator';
import { IdempotencyOptionsError } from './idempotency.errors.js';
import { type IdempotencyModuleOptions, resolveOptions } from './idempotency.options.js';
import { check, Milliseconds, must, Optional } from './idempotency.options.checks.js';
import type { AcquireOptions } from './locks/lock.service.js';

/** Options of `@Locked`. Durations are milliseconds. */
export interface LockedOptions {
  /** Life of the lock unless renewed. @default the `leaseMs` of the module */
  ttlMs?: number;
  /** How long to wait for the holder before it is refused. @default 0 */
  waitMs?: number;
  /** Renew at a third of the life while the method runs. @default true */
  renew?: boolean;
  /** No renewal later than this after the grant. @default the `maxHoldMs` of the module */
  maxHoldMs?: number;
}

class LockedOptionsShape {
  @Milliseconds(10) ttlMs?: unknown;
  @Milliseconds(0) waitMs?: unknown;
  @Optional() @IsBoolean(must('true or false')) renew?: unknown;
  @Milliseconds(10) maxHoldMs?: unknown;
}

/** @throws IdempotencyOptionsError naming the method, what is wrong, and the fix. */
export function resolveLockedOptions(
  module: IdempotencyModuleOptions,
  options: LockedOptions,
  where: string,
): AcquireOptions {
  if (!module.lock) {
    throw new IdempotencyOptionsError(
      `${where}: IdempotencyModule has no \`lock\`; add one, for example lock: redisLock({ client })`,
    );
  }
  check(new LockedOptionsShape(), options, where);
  const { leaseMs, maxHoldMs } = resolveOptions(module, {}, 'IdempotencyModule');
  const terms = {
    ttlMs: options.ttlMs ?? leaseMs,
    waitMs: options.waitMs ?? 0,
    renew: options.renew ?? true,
    maxHoldMs: options.maxHoldMs ?? maxHoldMs,
  };
  if (options.maxHoldMs !== undefined && terms.maxHoldMs < terms.ttlMs) {
    throw new IdempotencyOptionsError(
      `${where}: maxHoldMs is ${terms.maxHoldMs}; it must be at least ttlMs, which is ${terms.ttlMs}`,
    );
  }
  return terms;
}
