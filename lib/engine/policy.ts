import type { IsolationLevel } from '../stores/store-transactions.js';

/** How a call's transaction is run. */
export interface TransactionTerms {
  /** undefined: the database's default, at least READ COMMITTED. */
  readonly isolation: IsolationLevel | undefined;
  /** How often it is run again when the database rolled it back in favour of others. */
  readonly retries: number;
}

/** The options of a route as the engine needs them: complete, checked, in milliseconds. */
export interface CallPolicy {
  readonly leaseMs: number;
  readonly maxHoldMs: number;
  readonly retentionMs: number;
  readonly onConflict: 'reject' | 'wait';
  readonly waitTimeoutMs: number;
  readonly onOrphan: 'retry' | 'uncertain';
  readonly onUnavailable: 'reject' | 'run';
  readonly backendTimeoutMs: number;
  readonly maxResponseBytes: number;
  readonly reconcileTimeoutMs: number;
  readonly transactional?: false | TransactionTerms;
}

/** Who a call is. See `identity/identity.ts` for how it is made. */
export interface CallIdentity {
  /** Names the record and the lock: 64 hex digits. */
  readonly id: string;
  /** For people. */
  readonly scope: string;
  readonly key: string;
  readonly fingerprint: string;
}

/** What the engine counts; a snapshot is at `IdempotencyService.counters`. */
export interface EngineCounters {
  /** Calls that became the owner of their key. */
  claims: number;
  /** Duplicates answered with the recorded answer. */
  replays: number;
  /** Duplicates refused because the first was still running. */
  conflicts: number;
  /** Same key, other payload. */
  mismatches: number;
  /** Owners that were superseded before they could record an answer. */
  lostLeases: number;
  /** Records that became uncertain. */
  uncertain: number;
  /** Uncertain records that a reconcile hook settled. */
  reconciled: number;
  /** Abandoned calls that were finished without their callers. */
  completions: number;
  /** Abandoned calls that were left unfinished after all attempts. */
  givenUp: number;
  /** Answers that went out although they could not be stored. */
  unstored: number;
  /** Calls refused because lock or store was unavailable. */
  unavailable: number;
  /** Calls run without protection by `onUnavailable: 'run'`. */
  unprotected: number;
}

export interface EngineLog {
  warn(message: string): void;
  error(message: string): void;
}
