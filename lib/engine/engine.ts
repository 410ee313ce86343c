import { IdempotencyError, leaseLost } from '../idempotency.errors.js';
import type { LockService } from '../locks/lock.service.js';
import type { ResultStore, StoredResponse } from '../stores/result-store.js';
import { BackendUnavailableError, within } from './backend.js';
import { systemClock, type Clock } from './clock.js';
import { Claimer, type Grant, type Met } from './claimer.js';
import { Lease, type LeaseSource } from './lease.js';
import { LeaseKeeper } from './lease-keeper.js';
import { type FindOut, Reconciler } from './reconciler.js';
import { Ownership, type OwnershipSupport, type Seen } from './ownership.js';
import { TransactionRun, type TransactionUser } from './transaction-run.js';
import type { CallIdentity, CallPolicy, EngineCounters, EngineLog } from './policy.js';

/** What a duplicate of a running call is told to wait before it asks again, in milliseconds. */
const RETRY_AFTER_MS = 1_000;

export interface EngineOptions {
  readonly store: ResultStore;
  /** Keeps duplicates of other processes off the store. The store alone is already safe. */
  readonly locks?: LockService | undefined;
  readonly backendTimeoutMs: number;
  readonly log: EngineLog;
  readonly clock?: Clock;
  readonly keeper?: LeaseKeeper;
}

/** How a call goes on after its claim. */
export type Begun =
  | { readonly kind: 'run'; readonly ownership: Ownership }
  | {
      readonly kind: 'replay';
      readonly response: StoredResponse;
      readonly attempt: number;
      readonly token: string | null;
    }
  /** `onUnavailable: 'run'`: nothing protects this call. */
  | { readonly kind: 'unprotected' };

/** A call of this process that is claiming or running; its duplicates look here first. */
interface Slot {
  readonly fingerprint: string;
  /** Its claim may take long: it waits for an owner elsewhere. */
  readonly waits: boolean;
  readonly claimed: Promise<Claimed>;
  ownership?: Ownership;
}

type Claimed =
  | { readonly is: 'owned'; readonly ownership: Ownership }
  | { readonly is: 'found'; readonly seen: Seen }
  | { readonly is: 'failed'; readonly error: unknown };

/**
 * Claims keys. A call goes one way through it: identity -> claim -> run (the caller's) -> settle (`Ownership`).
 *
 * 1. Duplicates inside the process meet at the slot of the first: no round trip.
 * 2. With a lock, duplicates of other processes meet there; who finds it taken only reads the record.
 * 3. The store's claim decides. Losing the lock therefore never lets anything run twice.
 */
export class IdempotencyEngine {
  readonly counters: EngineCounters = {
    claims: 0,
    replays: 0,
    conflicts: 0,
    mismatches: 0,
    lostLeases: 0,
    uncertain: 0,
    reconciled: 0,
    completions: 0,
    givenUp: 0,
    unstored: 0,
    unavailable: 0,
    unprotected: 0,
  };
  private readonly slots = new Map<string, Slot>();
  private readonly owned = new Set<Ownership>();
  private readonly clock: Clock;
  private readonly support: OwnershipSupport;
  private readonly claims: LeaseSource;
  /** By place, for stores of several. */
  private readonly sources = new Map<string, LeaseSource>();
  private readonly claimer: Claimer;
  private readonly reconciler: Reconciler;

  constructor(private readonly options: EngineOptions) {
    const { store, log } = options;
    this.clock = options.clock ?? systemClock;
    const keeper = options.keeper ?? new LeaseKeeper(this.clock);
    this.support = { store, log, keeper, counters: this.counters };
    this.claimer = new Claimer(store, options.locks, this.counters, this.clock);
    this.reconciler = new Reconciler(store, log, this.counters);
    this.claims = this.newSource();
  }

  get store(): ResultStore {
    return this.options.store;
  }

  /** Calls of this process that own their key at the moment. */
  get running(): number {
    return this.owned.size;
  }

  /**
   * Claims the key of a call, or says how its duplicate is answered.
   *
   * @param findOut asked what became of the work when the outcome is uncertain.
   * @throws IdempotencyError for every refusal: `key-reused`, `in-progress`, `response-not-replayable`,
   * `outcome-uncertain`, `unavailable`.
   */
  begin(identity: CallIdentity, policy: CallPolicy, findOut?: FindOut): Promise<Begun> {
    const begun = findOut
      ? this.claimOrFindOut(identity, policy, findOut)
      : this.claimOrMeet(identity, policy);
    return begun.catch((error: unknown) => {
      if (!(error instanceof BackendUnavailableError)) throw error;
      return this.unavailable(identity, policy, error);
    });
  }

  /** The transactions of a call whose route is transactional; undefined of any other. */
  transactionOf(
    policy: CallPolicy,
    ownership: Ownership | null,
    user: TransactionUser,
  ): TransactionRun | undefined {
    const { transactional } = policy;
    if (!transactional) return undefined;
    // That the store has some was checked at start-up.
    return new TransactionRun(this.options.store.transactions!, transactional, policy, ownership, user);
  }

  /** Puts the answer a recorded value was made into in its place. Failing costs only making it again. */
  async replaceAnswer(
    { id, scope }: CallIdentity,
    { retentionMs, backendTimeoutMs }: CallPolicy,
    token: string | null,
    response: StoredResponse,
  ): Promise<void> {
    const { store, log } = this.options;
    if (token === null) return;
    try {
      await within(backendTimeoutMs, `Store ${store.name}`, () =>
        store.complete(id, token, response, retentionMs),
      );
    } catch (error) {
      log.warn(`${scope} (record ${id.slice(0, 12)}): the rendered answer was not stored: ${String(error)}`);
    }
  }

  /** Waits until no call of this process owns a key any more, for at most `ms` milliseconds. */
  async drain(ms: number): Promise<boolean> {
    const until = this.clock.mono() + ms;
    for (const ownership of this.owned) await ownership.settledWithin(until - this.clock.mono());
    await this.options.locks?.released();
    return this.owned.size === 0;
  }

  /** Calls of this process that own a key, to be told when somebody else settles it. */
  ownersOf(id: string): Ownership[] {
    return [...this.owned].filter(({ identity }) => identity.id === id);
  }

  private async claimOrFindOut(identity: CallIdentity, policy: CallPolicy, findOut: FindOut): Promise<Begun> {
    try {
      return await this.claimOrMeet(identity, policy);
    } catch (error) {
      if (!(error instanceof IdempotencyError) || error.code !== 'outcome-uncertain') throw error;
      if (!(await this.reconciler.settle(identity, policy, findOut))) throw error;
      return this.claimOrMeet(identity, policy);
    }
  }

  private async claimOrMeet(identity: CallIdentity, policy: CallPolicy): Promise<Begun> {
    const waitUntil = this.clock.mono() + policy.waitTimeoutMs;
    for (;;) {
      const slot = this.slots.get(identity.id);
      if (slot?.ownership && !slot.ownership.isHeld()) {
        // The owner here has lost it; others may have it now. Not for its duplicates to wait on.
        this.slots.delete(identity.id);
        continue;
      }
      if (slot?.ownership && slot.fingerprint !== identity.fingerprint)
        return this.answer(slot.ownership.running, identity);
      const joined = slot && isJoinable(slot, identity, policy) ? slot : undefined;
      const claimed = await (joined?.claimed ?? this.contendInSlot(identity, policy, waitUntil));
      if (claimed.is === 'failed') throw claimed.error;
      if (claimed.is === 'found') {
        // The one that asked waits no longer for an owner elsewhere; this call may have time left.
        const isEarly = joined && policy.onConflict === 'wait' && this.clock.mono() < waitUntil;
        if (isEarly && isRunning(claimed.seen, identity)) continue;
        return this.answer(claimed.seen, identity);
      }
      const { ownership } = claimed;
      if (!joined) return { kind: 'run', ownership };
      if (policy.onConflict === 'reject') return this.answer(ownership.running, identity);
      const seen = await ownership.settledWithin(waitUntil - this.clock.mono());
      if (seen === undefined) return this.answer(ownership.running, identity);
      if (seen !== null) return this.answer(seen, identity);
    }
  }

  /** The one of this process that asks the backends; the others wait for its answer. */
  private contendInSlot(identity: CallIdentity, policy: CallPolicy, waitUntil: number): Promise<Claimed> {
    const leave = (result: Claimed) => {
      if (result.is === 'owned') {
        slot.ownership = result.ownership;
        this.slots.set(identity.id, slot);
      } else if (this.slots.get(identity.id) === slot) {
        this.slots.delete(identity.id);
      }
      return result;
    };
    const claimed = this.claimer.contend(identity, policy, waitUntil).then(
      (met) => leave(this.claimedAs(met, identity, policy)),
      (error: unknown) => leave({ is: 'failed', error }),
    );
    const waits = policy.onConflict === 'wait';
    const slot: Slot = { fingerprint: identity.fingerprint, waits, claimed };
    if (!this.slots.has(identity.id)) this.slots.set(identity.id, slot);
    return claimed;
  }

  private claimedAs(met: Met, identity: CallIdentity, policy: CallPolicy): Claimed {
    return 'grant' in met
      ? { is: 'owned', ownership: this.own(identity, policy, met.grant) }
      : { is: 'found', seen: met.seen };
  }

  private own(identity: CallIdentity, policy: CallPolicy, grant: Grant): Ownership {
    const { store } = this.options;
    this.counters.claims++;
    const lease = new Lease(
      {
        name: identity.id,
        token: grant.token,
        fence: grant.fence,
        ttlMs: policy.leaseMs,
        maxHoldMs: isRenewable(policy) ? policy.maxHoldMs : 0,
        source: store.placeOf ? this.sourceOf(store.placeOf(identity.id)) : this.claims,
        lostError: leaseLost,
        companion: grant.lock,
      },
      this.clock,
      grant.sentAt,
    );
    const onSettled = () => {
      this.owned.delete(ownership);
      if (this.slots.get(identity.id)?.ownership === ownership) this.slots.delete(identity.id);
    };
    const ownership: Ownership = new Ownership(
      identity,
      policy,
      grant.attempt,
      lease,
      grant.lock,
      this.support,
      onSettled,
    );
    this.owned.add(ownership);
    this.support.keeper.keep(lease);
    return ownership;
  }

  /** Leases of one source are renewed together. */
  private newSource(): LeaseSource {
    const { store, backendTimeoutMs } = this.options;
    return {
      renew: (leases, leaseMs) =>
        within(backendTimeoutMs, `Store ${store.name}`, () =>
          store.renew(
            leases.map(({ name, token }) => ({ id: name, token })),
            leaseMs,
          ),
        ),
    };
  }

  private sourceOf(place: string): LeaseSource {
    let source = this.sources.get(place);
    if (!source) this.sources.set(place, (source = this.newSource()));
    return source;
  }

  /** The answer table for duplicates. Another payload is refused whatever the state. */
  private answer(seen: Seen, identity: CallIdentity): Begun {
    if (seen.fingerprint !== null && seen.fingerprint !== identity.fingerprint) {
      this.counters.mismatches++;
      throw new IdempotencyError('key-reused');
    }
    if (seen.state === 'uncertain') throw new IdempotencyError('outcome-uncertain');
    if (seen.state === 'running') {
      this.counters.conflicts++;
      throw new IdempotencyError('in-progress', { retryAfterMs: RETRY_AFTER_MS });
    }
    if (!seen.response?.body) throw new IdempotencyError('response-not-replayable');
    this.counters.replays++;
    return { kind: 'replay', response: seen.response, attempt: seen.attempt, token: seen.token };
  }

  private unavailable(identity: CallIdentity, policy: CallPolicy, cause: BackendUnavailableError): Begun {
    const { log } = this.options;
    const where = `${identity.scope} (record ${identity.id.slice(0, 12)})`;
    if (policy.onUnavailable === 'run') {
      this.counters.unprotected++;
      log.warn(`${where} runs WITHOUT protection: ${cause.message}`);
      return { kind: 'unprotected' };
    }
    this.counters.unavailable++;
    log.warn(`${where} refused: ${cause.message}`);
    throw new IdempotencyError('unavailable', { retryAfterMs: RETRY_AFTER_MS, cause });
  }
}

/**
 * A transaction that sees the database as it was when it began cannot complete a record that was renewed since: that
 * counts as a change by others. Such a call has one lease.
 */
function isRenewable({ transactional }: CallPolicy): boolean {
  return !transactional || (transactional.isolation ?? 'READ COMMITTED') === 'READ COMMITTED';
}

/** Another payload has nothing to learn from a claim under way, and who does not wait has no time for one that does. */
function isJoinable(slot: Slot, { fingerprint }: CallIdentity, { onConflict }: CallPolicy): boolean {
  return slot.fingerprint === fingerprint && (!!slot.ownership || !slot.waits || onConflict === 'wait');
}

function isRunning(seen: Seen, { fingerprint }: CallIdentity): boolean {
  return seen.state === 'running' && (seen.fingerprint ?? fingerprint) === fingerprint;
}
