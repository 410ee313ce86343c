import { hash } from 'node:crypto';
import type { Ownership } from './engine/ownership.js';
import { Steps } from './engine/steps.js';
import { frames } from './idempotency.frame.js';

/** What a handler may know and do about its own call. */
export class IdempotencyContext {
  private madeSteps: Steps | undefined;

  /** @internal */
  constructor(
    private readonly identity: { readonly id: string; readonly key: string } | null,
    private readonly ownership: Ownership | null,
  ) {}

  /** The context of the call that is being handled, anywhere below the handler; undefined outside of one. */
  static current(): IdempotencyContext | undefined {
    return frames.getStore()?.context;
  }

  /** The key, as the caller or the template gave it; undefined for a call without one. */
  get key(): string | undefined {
    return this.identity?.key;
  }

  /** False: nothing keeps this call from running twice (`required: false` without a key, or `onUnavailable: 'run'`). */
  get isProtected(): boolean {
    return this.ownership !== null;
  }

  /** 1 for the first run under this key, more when an earlier one was released or died. */
  get attempt(): number {
    return this.ownership?.attempt ?? 1;
  }

  /** Grows with every new owner of the key. Send it along with writes; let the resource refuse smaller ones. */
  get fence(): bigint {
    return this.ownership?.fence ?? 0n;
  }

  /** Aborts when ownership is lost. Never aborts in an unprotected call. */
  get signal(): AbortSignal {
    return this.ownership?.signal ?? NEVER_ABORTS;
  }

  /**
   * To be called right before an effect that cannot be taken back: it looks at the clocks, while `signal`
   * needs a timer to fire.
   *
   * @throws IdempotencyError `lease-lost` when ownership is lost.
   */
  assertHeld(): void {
    this.ownership?.assertHeld();
  }

  /**
   * A recovery point: `work` is done at most once per recorded success. On a later attempt (after a crash, or an error
   * that released the key) its recorded result is returned instead, in whatever process.
   *
   * The result is what JSON makes of it, on the first attempt as well. Steps may run at the same time as long as they are
   * called in the same order on every attempt; one that failed may be tried again under its name.
   *
   * Between the end of `work` and its being recorded the process may die: then `work` is done again. Where that must
   * not be, give the downstream call `deriveKey(name)`, or use `transaction`.
   *
   * @param name at most 128 characters; one a call.
   * @throws StepError when the name is used twice, steps come in another order than before, or the result is not JSON.
   * @throws StepNotRecordedError when `work` was done but the store could not be told.
   * @throws IdempotencyError `lease-lost` when ownership is lost: nothing was recorded.
   */
  step<T>(name: string, work: () => T | Promise<T>): Promise<T> {
    return this.steps.pass(name, work);
  }

  /**
   * A key for a downstream call: the same on every attempt, another one for every record and name.
   *
   * @returns 64 hex digits, fit for a provider's own `Idempotency-Key`.
   * @throws Error in a call without a key.
   */
  deriveKey(name: string): string {
    if (!this.identity)
      throw new Error(`deriveKey("${name}"): this call has no idempotency key to derive from`);
    return hash('sha256', `${this.identity.id}|${name}`);
  }

  /** @internal The body begins, maybe again. */
  bodyBegins(): void {
    this.madeSteps?.restart();
  }

  private get steps(): Steps {
    return (this.madeSteps ??= new Steps(this.ownership));
  }
}

const NEVER_ABORTS = new AbortController().signal;
