import { randomUUID } from 'node:crypto';
import type { LockLease } from '../locks/lock-lease.js';
import type { LockService } from '../locks/lock.service.js';
import type { ClaimAnswer, ResultStore, StoredRecord } from '../stores/result-store.js';
import { BackendUnavailableError, within } from './backend.js';
import type { Clock } from './clock.js';
import { instant, type Instant } from './lease.js';
import type { Seen } from './ownership.js';
import type { CallIdentity, CallPolicy, EngineCounters } from './policy.js';
import { ReleaseWatch } from './release-watch.js';

/** How often a record may vanish between refusal and read before the store counts as broken. */
const VANISHINGS = 5;
/** Pause before the next look at a key whose lease is over but not yet free, in milliseconds. */
const LEAST_PAUSE_MS = 50;

/** A key that was claimed; whoever holds this has to settle it. */
export interface Grant {
  readonly token: string;
  readonly attempt: number;
  readonly fence: bigint;
  readonly lock: LockLease | undefined;
  /** Before the claim was sent. */
  readonly sentAt: Instant;
}

/** How a call met its key: claimed it, or found it with somebody else. */
export type Met = { readonly grant: Grant } | { readonly seen: Seen };

/**
 * Asks the backends for a key: the lock first, if there is one, then the store's claim, which decides. Who
 * finds the lock taken only reads the record.
 */
export class Claimer {
  constructor(
    private readonly store: ResultStore,
    private readonly locks: LockService | undefined,
    private readonly counters: EngineCounters,
    private readonly clock: Clock,
  ) {}

  /**
   * Claims, or waits for the owner as the policy has it, until `waitUntil` of the monotonic clock.
   *
   * @throws BackendUnavailableError when lock or store cannot be asked.
   */
  async contend(identity: CallIdentity, policy: CallPolicy, waitUntil: number): Promise<Met> {
    const token = randomUUID();
    let vanishings = 0;
    let watch: ReleaseWatch | undefined;
    try {
      for (;;) {
        const met = await this.tryOnce(identity, policy, token);
        if (met === null) {
          if (++vanishings < VANISHINGS) continue;
          throw new BackendUnavailableError(`Store ${this.store.name} refuses a claim and shows no record`);
        }
        if ('grant' in met || policy.onConflict === 'reject') return met;
        const { seen } = met;
        const isForeign = seen.fingerprint !== null && seen.fingerprint !== identity.fingerprint;
        const left = waitUntil - this.clock.mono();
        if (seen.state !== 'running' || isForeign || left <= 0) return met;
        if (!watch) {
          // Subscribed first and looked again after: a release in between would wake nobody.
          watch = await ReleaseWatch.start(identity.id, this.wakeUp, policy.backendTimeoutMs);
          if (watch.wakes) continue;
        }
        await watch.next(Math.min(left, Math.max(seen.leaseRemainingMs + 1, LEAST_PAUSE_MS)));
      }
    } finally {
      watch?.stop();
    }
  }

  /** One attempt. @returns null when the record vanished while it was looked at. */
  private async tryOnce(identity: CallIdentity, policy: CallPolicy, token: string): Promise<Met | null> {
    const lock = this.locks && (await this.lock(this.locks, identity, policy));
    if (lock && 'retryAfterMs' in lock) {
      const record = await this.find(identity.id, policy);
      if (!isFree(record)) return { seen: record ?? beingClaimed(lock.retryAfterMs) };
      // Whoever has the lock does not own the key any more: an operator freed it. The store decides.
      return this.claimUnder(undefined, identity, policy, token);
    }
    return this.claimUnder(lock, identity, policy, token);
  }

  private async claimUnder(
    lock: LockLease | undefined,
    identity: CallIdentity,
    policy: CallPolicy,
    token: string,
  ): Promise<Met | null> {
    let seen: Seen | null = null;
    let isGranted = false;
    try {
      const sentAt = instant(this.clock);
      const answer = await this.claim(identity, policy, token);
      isGranted = answer.claimed;
      if (answer.claimed)
        return { grant: { token, attempt: answer.attempt, fence: answer.fence, lock, sentAt } };
      seen = await this.withOrphanMarked(answer.record, policy);
      return seen && { seen };
    } finally {
      // A finished record is answered without waiting for the release.
      if (seen?.state === 'completed') void lock?.release();
      else if (!isGranted) await lock?.release();
    }
  }

  private async lock(
    locks: LockService,
    identity: CallIdentity,
    { leaseMs: ttlMs, maxHoldMs }: CallPolicy,
  ): Promise<LockLease | { retryAfterMs: number }> {
    const result = await locks.acquire(identity.id, { ttlMs, maxHoldMs });
    if (result.status === 'acquired') return result.lease;
    if (result.status === 'busy') return { retryAfterMs: result.retryAfterMs };
    const cause = 'cause' in result ? result.cause : undefined;
    throw new BackendUnavailableError('The lock is unavailable', { cause });
  }

  /**
   * Sent once more with the same token when the connection broke: if the first was executed, the store
   * recognises it. What stays unknown is given back, so a reply lost for good does not block the key.
   */
  private async claim(identity: CallIdentity, policy: CallPolicy, token: string): Promise<ClaimAnswer> {
    const { store } = this;
    const { leaseMs, retentionMs, backendTimeoutMs } = policy;
    const { id, scope, key, fingerprint } = identity;
    const takeOrphan = policy.onOrphan === 'retry';
    const request = { id, scope, key, fingerprint, token, leaseMs, retentionMs, takeOrphan };
    const giveBack = () => {
      // Rejects only if the store is still away; then the claim runs out by itself.
      store.release(identity.id, token, 'forget', retentionMs).catch(() => undefined);
    };
    const until = this.clock.mono() + backendTimeoutMs;
    for (let first = true; ; first = false) {
      try {
        return await within(
          Math.max(1, until - this.clock.mono()),
          `Store ${store.name}`,
          () => store.claim(request),
          (late) => late.claimed && giveBack(),
        );
      } catch (error) {
        if (first && this.clock.mono() < until) continue;
        giveBack();
        throw error;
      }
    }
  }

  /** An orphan under `onOrphan: 'uncertain'` is marked, unless its owner has renewed or settled it since: then look again. */
  private async withOrphanMarked(record: StoredRecord | null, policy: CallPolicy): Promise<Seen | null> {
    const isOrphan = record?.state === 'running' && record.token !== null && record.leaseRemainingMs <= 0;
    if (!isOrphan || policy.onOrphan === 'retry') return record;
    const marked = await within(policy.backendTimeoutMs, `Store ${this.store.name}`, () =>
      this.store.markUncertain(record.id, record.token!, true),
    );
    if (!marked) return null;
    this.counters.uncertain++;
    return { ...record, state: 'uncertain' };
  }

  private find(id: string, { backendTimeoutMs }: CallPolicy): Promise<StoredRecord | null> {
    return within(backendTimeoutMs, `Store ${this.store.name}`, () => this.store.find(id));
  }

  private get wakeUp() {
    const { locks, store } = this;
    return locks?.watch ?? (store.watch && ((id: string, wake: () => void) => store.watch!(id, wake)));
  }
}

function isFree(record: StoredRecord | null): boolean {
  return record?.state === 'running' && record.token === null;
}

/** The lock is taken, but its holder has not claimed yet. */
function beingClaimed(leaseRemainingMs: number): Seen {
  return { state: 'running', fingerprint: null, attempt: 0, token: null, response: null, leaseRemainingMs };
}
