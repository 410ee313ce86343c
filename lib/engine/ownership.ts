import type { LockLease } from '../locks/lock-lease.js';
import type { ResultStore, StoredRecord, StoredResponse } from '../stores/result-store.js';
import type { StepRecord, StepStore, StoredStep } from '../stores/step-store.js';
import type { StoreTransaction } from '../stores/store-transactions.js';
import { leaseLost, StepError } from '../idempotency.errors.js';
import { BackendUnavailableError, pause, within } from './backend.js';
import { commitAnswer, commitStep, type CommittedClaim } from './commit.js';
import type { Lease } from './lease.js';
import type { LeaseKeeper } from './lease-keeper.js';
import type { CallIdentity, CallPolicy, EngineCounters, EngineLog } from './policy.js';

/** What a look at a record tells a duplicate. */
export interface Seen {
  readonly state: StoredRecord['state'];
  /** null: not known yet, its owner is just claiming. */
  readonly fingerprint: string | null;
  readonly attempt: number;
  readonly token: string | null;
  readonly response: StoredResponse | null;
  readonly leaseRemainingMs: number;
}

/**
 * How recording went. `recorded`: stored, or at least never to be given away (then it becomes uncertain).
 * `superseded`: somebody else owns the key now; `seen` is what they left, if anything.
 */
export type Settlement =
  { readonly recorded: true } | { readonly recorded: false; readonly seen: StoredRecord | null };

export interface OwnershipSupport {
  readonly store: ResultStore;
  readonly keeper: LeaseKeeper;
  readonly counters: EngineCounters;
  readonly log: EngineLog;
}

/** The right and the duty to run a call and to settle it: exactly one of `complete`, `release`, `markUncertain`. */
export class Ownership {
  private waiters: ((seen: Seen | null) => void)[] = [];
  private settledAs: Seen | null | undefined;
  private keepsClaim = false;

  constructor(
    readonly identity: CallIdentity,
    readonly policy: CallPolicy,
    readonly attempt: number,
    private readonly lease: Lease,
    private readonly lock: LockLease | undefined,
    private readonly support: OwnershipSupport,
    private readonly onSettled: () => void,
  ) {}

  get fence(): bigint {
    return this.lease.fence;
  }

  get signal(): AbortSignal {
    return this.lease.signal;
  }

  isHeld(): boolean {
    return this.lease.isHeld();
  }

  /** @throws IdempotencyError `lease-lost` when ownership is lost. */
  assertHeld(): void {
    if (!this.isHeld()) throw leaseLost();
  }

  /** What earlier attempts have recorded. A first attempt does not need to ask. */
  async steps(): Promise<StoredStep[]> {
    const steps = this.stepStore;
    if (this.attempt === 1) return [];
    return within(this.policy.backendTimeoutMs, `Store ${this.support.store.name}`, () =>
      steps.list(this.identity.id),
    );
  }

  /** @throws IdempotencyError `lease-lost` when somebody else owns the key: nothing was recorded. */
  async recordStep(step: StepRecord): Promise<void> {
    const steps = this.stepStore;
    if (await this.insist(() => steps.record(this.identity.id, this.lease.token, step))) return;
    this.lease.lose();
    throw leaseLost();
  }

  /** Records the answer. Retried; the work is done, so the key is never given away for want of a store. */
  async complete(response: StoredResponse): Promise<Settlement> {
    let mine: boolean;
    try {
      mine = await this.insist(() => this.recordAnswer(response));
    } catch (error) {
      this.support.counters.unstored++;
      this.support.log.error(
        `${this.label} succeeded, but its answer could not be stored; ` +
          `if the store does not take it later, the record becomes uncertain: ${reason(error)}`,
      );
      void this.becomeUncertain(response);
      return { recorded: true };
    }
    return mine ? this.completed(response) : this.superseded();
  }

  /** Records the answer as the last statement of a transaction, and commits. @throws as `commitAnswer`. */
  async commit(transaction: StoreTransaction, response: StoredResponse): Promise<Settlement> {
    const isMine = await commitAnswer(transaction, this.claim, response);
    return isMine ? this.completed(response) : this.superseded();
  }

  /** Writes a step as the last statement of a transaction, and commits. @throws as `commitStep`, and `lease-lost`. */
  async commitStep(transaction: StoreTransaction, step: StepRecord): Promise<void> {
    if (await commitStep(transaction, this.claim, step)) return;
    this.lease.lose();
    throw leaseLost();
  }

  /** The transaction of a call that lost its key is gone: free for others if nobody has it yet. Never throws. */
  async giveUp(): Promise<Settlement> {
    const { store } = this.support;
    const { backendTimeoutMs, retentionMs } = this.policy;
    const released = within(backendTimeoutMs, `Store ${store.name}`, () =>
      store.release(this.identity.id, this.lease.token, 'keep', retentionMs),
    );
    // Rejects only if the store is away; then the claim runs out by itself.
    await released.catch(() => undefined);
    return this.superseded();
  }

  /** Nobody knows, but the record will tell who asks next: nothing is to be changed about it. */
  leaveToRecord(): void {
    this.settle(null);
    void this.lock?.release();
  }

  /** Somebody else settled the key: it is lost at once, and who waits for it here looks again. */
  dispossess(): void {
    this.lease.lose();
    this.settle(null);
  }

  /** Released, the claim is left to run out: the work is tried again, but not before that. */
  keepClaimOnRelease(): void {
    this.keepsClaim = true;
  }

  /** Gives the key back without an answer. Never throws: what cannot be released runs out by itself. */
  async release(mode: 'forget' | 'keep'): Promise<void> {
    const { store, log } = this.support;
    try {
      if (!this.keepsClaim)
        await this.insist(() =>
          store.release(this.identity.id, this.lease.token, mode, this.policy.retentionMs),
        );
    } catch (error) {
      log.warn(`${this.label} could not be released and runs out by itself: ${reason(error)}`);
    }
    await this.lock?.release();
    this.settle(null);
  }

  /** Nobody knows whether the work was done: refused from now on, until somebody settles it. Never throws. */
  async markUncertain(): Promise<void> {
    try {
      this.settleUncertain(
        await this.insist(() => this.support.store.markUncertain(this.identity.id, this.lease.token)),
      );
      await this.lock?.release();
    } catch {
      // Tried again for as long as it takes; meanwhile the claim is renewed and refuses duplicates as running.
      void this.becomeUncertain();
    }
  }

  /** Resolves with what a local duplicate is to be told (null: free again), or undefined after `ms`. */
  settledWithin(ms: number): Promise<Seen | null | undefined> {
    if (this.settledAs !== undefined) return Promise.resolve(this.settledAs);
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(undefined), Math.max(0, ms));
      this.waiters.push((seen) => {
        clearTimeout(timer);
        resolve(seen);
      });
    });
  }

  /** What a local duplicate sees while the call runs. */
  get running(): Seen {
    const { attempt } = this;
    const { token } = this.lease;
    const leaseRemainingMs = Math.max(0, this.lease.remainingMs());
    return {
      state: 'running',
      fingerprint: this.identity.fingerprint,
      attempt,
      token,
      response: null,
      leaseRemainingMs,
    };
  }

  private get stepStore(): StepStore {
    const { steps, name } = this.support.store;
    if (steps) return steps;
    throw new StepError(
      `The store "${name}" keeps no steps; use typeOrmStore, redisStore or memoryStore, or give it "steps"`,
    );
  }

  private get label(): string {
    return `${this.identity.scope} (record ${this.identity.id.slice(0, 12)})`;
  }

  /** Tries again, ever slower, until the back-end time-out. Repeating is harmless: all of it compares the token. */
  private async insist<T>(operation: () => Promise<T>): Promise<T> {
    const { backendTimeoutMs } = this.policy;
    const until = performance.now() + backendTimeoutMs;
    for (let wait = 25; ; wait *= 2) {
      try {
        return await within(until - performance.now(), `Store ${this.support.store.name}`, operation);
      } catch (error) {
        if (performance.now() + wait >= until) throw error;
        await pause(wait);
      }
    }
  }

  private recordAnswer(response: StoredResponse): Promise<boolean> {
    const { id } = this.identity;
    return this.support.store.complete(id, this.lease.token, response, this.policy.retentionMs);
  }

  /**
   * Tried for as long as it takes. A store that was only away takes the answer when it is back, and no doubt is left: it
   * is uncertain if the store still refuses the answer when it answers otherwise.
   */
  private async becomeUncertain(answer?: StoredResponse): Promise<void> {
    const { store } = this.support;
    const bounded = <T>(operation: () => Promise<T>) =>
      within(this.policy.backendTimeoutMs, `Store ${store.name}`, operation);
    const isStoredLate = async () => {
      if (!answer || !(await bounded(() => this.recordAnswer(answer)).catch(() => false))) return false;
      this.completed(answer);
      return true;
    };
    for (let wait = 100; ; wait = Math.min(wait * 2, 5_000)) {
      try {
        if (await isStoredLate()) return;
        const marked = await bounded(() => store.markUncertain(this.identity.id, this.lease.token));
        // It may have come back in between.
        if (marked && (await isStoredLate())) return;
        this.settleUncertain(marked);
        break;
      } catch {
        await pause(wait);
      }
    }
    await this.lock?.release();
  }

  private completed(response: StoredResponse): Settlement {
    const { attempt } = this;
    const { token } = this.lease;
    const { fingerprint } = this.identity;
    this.settle({ state: 'completed', fingerprint, attempt, token, response, leaseRemainingMs: 0 });
    // Not waited for: who comes in between finds the lock taken, looks at the record and replays it.
    void this.lock?.release();
    return { recorded: true };
  }

  private get claim(): CommittedClaim {
    const { leaseMs, retentionMs, backendTimeoutMs } = this.policy;
    const { store } = this.support;
    const { token } = this.lease;
    const { id } = this.identity;
    return { store, id, token, leaseMs, retentionMs, isKept: this.keepsClaim, backendTimeoutMs };
  }

  private async superseded(): Promise<Settlement> {
    this.support.counters.lostLeases++;
    this.support.log.warn(`${this.label} lost its lease; the answer of this late owner was not recorded`);
    this.lease.lose();
    this.settle(null);
    void this.lock?.release();
    const { store } = this.support;
    try {
      const seen = await within(this.policy.backendTimeoutMs, `Store ${store.name}`, () =>
        store.find(this.identity.id),
      );
      return { recorded: false, seen };
    } catch (error) {
      if (!(error instanceof BackendUnavailableError)) throw error;
      return { recorded: false, seen: null };
    }
  }

  /** Not marked: a late `complete` got through after all, or somebody else owns the key. Duplicates look again. */
  private settleUncertain(marked: boolean): void {
    if (!marked) return this.settle(null);
    this.support.counters.uncertain++;
    this.support.log.error(`${this.label} is uncertain now and refused until it is resolved`);
    const { attempt, identity } = this;
    const { token } = this.lease;
    this.settle({
      state: 'uncertain',
      fingerprint: identity.fingerprint,
      attempt,
      token,
      response: null,
      leaseRemainingMs: 0,
    });
  }

  private settle(seen: Seen | null): void {
    if (this.settledAs !== undefined) return;
    this.settledAs = seen;
    this.support.keeper.end(this.lease);
    this.onSettled();
    for (const waiter of this.waiters) waiter(seen);
    this.waiters = [];
  }
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
