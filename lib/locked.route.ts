import type { IdempotentCall } from './idempotency.call.js';
import { IdempotencyError } from './idempotency.errors.js';
import { type IdempotencyModuleOptions, resolveOptions } from './idempotency.options.js';
import { keyMadeBy } from './identity/key-function.js';
import { missingIn } from './identity/key-template.js';
import type { LockedMetadata } from './locked.decorator.js';
import { resolveLockedOptions } from './locked.options.js';
import type { AcquireOptions } from './locks/lock.service.js';

/** A method with `@Locked`, its options resolved: knows what a call of it locks. */
export class LockedRoute {
  readonly terms: AcquireOptions;
  /** When a message that did not get the lock comes again, in milliseconds. */
  readonly redeliveryDelayMs: number;

  /** @throws IdempotencyOptionsError when an option is wrong or the module has no lock. */
  constructor(
    readonly label: string,
    private readonly metadata: LockedMetadata,
    module: IdempotencyModuleOptions,
  ) {
    this.terms = resolveLockedOptions(module, metadata.options, `@Locked on ${label}`);
    this.redeliveryDelayMs = resolveOptions(module, {}, 'IdempotencyModule').redeliveryDelayMs;
  }

  /** @throws IdempotencyError `lock-name-invalid` when the call lacks what the name is made of. */
  async nameOf(call: IdempotentCall): Promise<string> {
    const { key, template } = this.metadata;
    let name: string | undefined;
    try {
      name =
        typeof key === 'function' ? await keyMadeBy(key, call, `@Locked on ${this.label}`) : template!(call);
    } catch (error) {
      if (!(error instanceof IdempotencyError)) throw error;
      const { detail } = error.problem;
      throw new IdempotencyError('lock-name-invalid', { ...(detail ? { detail } : {}), cause: error });
    }
    if (name !== undefined) return name;
    const detail =
      typeof key === 'string' ? `It is named by ${missingIn(key, call)}, which this call lacks.` : undefined;
    throw new IdempotencyError('lock-name-invalid', detail === undefined ? {} : { detail });
  }
}
