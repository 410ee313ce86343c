import type { Act, ActAnswer, AuditEntry, ListPage, ListQuery } from './act.js';
import type { StepStore } from './step-store.js';
import type { StoreTransactions } from './store-transactions.js';

/**
 * The contract of a result table: who owns a key, and what was answered under it.
 *
 * Promises every implementation keeps (the shared suite in `test/stores` checks each of them):
 *
 * 1. `claim` is one atomic operation that either makes the caller the owner or tells what is there.
 *    No implementation reads first and writes afterwards.
 * 2. A claim whose reply was lost may be sent again with the same token and is answered as the first was.
 * 3. Every later mutation compares the token. A former owner changes nothing of its successor's.
 * 4. All times are the server's clock; the caller passes durations only.
 * 5. A row past its retention is taken over by the claim itself; its old answer and fingerprint are gone.
 * 6. A method rejects only when the backend could not be asked or did not answer. "Not yours" and "not
 *    there" are answers, never errors.
 *
 * An abstract class, so that the type and the Nest injection token are one word.
 */
export abstract class ResultStore {
  /** Name in messages and metrics, e.g. `redis`. */
  abstract readonly name: string;

  /**
   * Makes the caller the owner of `request.id`, or tells what is there.
   *
   * Claimed when: there is no row; the row is completed or released and past its `expiresAt`; the row was
   * released and has the same fingerprint; the row's lease ran out without a result, the fingerprint is
   * the same and `takeOrphan` is set; or the row already carries `request.token` (own re-sent claim).
   */
  abstract claim(request: ClaimRequest): Promise<ClaimAnswer>;

  /** What is stored under an id, or null. */
  abstract find(id: string): Promise<StoredRecord | null>;

  /**
   * Records the answer if `token` still owns the row, and keeps it for `retentionMs`. A lease that ran out
   * does not matter as long as nobody else has claimed since, nor does it that the row has become uncertain: its
   * owner knows. Repeating it with the same token is harmless.
   *
   * @returns false when another owner has taken over (nothing was changed).
   */
  abstract complete(
    id: string,
    token: string,
    response: StoredResponse,
    retentionMs: number,
  ): Promise<boolean>;

  /**
   * Prolongs several claims in one round trip.
   *
   * @returns one answer a claim, in order. false says definitely that the claim is not the caller's any more;
   * null, that nobody can tell of this one although others of the batch were answered.
   */
  abstract renew(claims: readonly ClaimRef[], leaseMs: number): Promise<(boolean | null)[]>;

  /**
   * Gives the key back without an answer, if `token` owns it and it is still running.
   *
   * - `'forget'` removes the row when this was the first attempt: the handler never began, so even another
   *   payload may use the key. (A later attempt falls back to `'keep'`.)
   * - `'keep'` leaves the row with its attempt number and fingerprint, free to be claimed at once by the
   *   same payload, for `retentionMs`.
   *
   * @returns false when the token owns no running row.
   */
  abstract release(id: string, token: string, mode: 'forget' | 'keep', retentionMs: number): Promise<boolean>;

  /**
   * Says that nobody knows whether the work was done. Only from `running`, only by the token.
   * An uncertain row never expires and is never claimed. Its owner may still complete it; else an operator or a
   * reconcile hook settles it.
   *
   * @param orphanOnly only if the lease of `token` is over at that moment: for somebody who found the row.
   * @returns false when nothing was changed.
   */
  abstract markUncertain(id: string, token: string, orphanOnly?: boolean): Promise<boolean>;

  /**
   * Removes at most `limit` rows that are past their `expiresAt`; never a running or uncertain one.
   *
   * @returns how many were removed. A store that expires rows by itself answers 0.
   */
  abstract sweep(limit: number): Promise<number>;

  /**
   * Does what an operator or a reconcile hook decided, and notes it in the audit, both or neither. Afterwards the
   * former owner's token owns nothing.
   *
   * Done when the row is not completed, and: it is uncertain; or running, and its lease is over or `act.evenLive`
   * is set; or free already, and `act.response` is given. With `act.uncertainToken` only while it is uncertain under
   * that token.
   */
  abstract act(act: Act): Promise<ActAnswer>;

  /** What was done to the record of `id`, the oldest first. */
  abstract audit(id: string): Promise<AuditEntry[]>;

  /**
   * Rows that have not expired, page by page. A row that is there from the first page to the last and does not change
   * its state is listed.
   */
  abstract list(query: ListQuery): Promise<ListPage>;

  /**
   * Reserves an uncertain row under `token` for who is to find out its outcome, for `ms` milliseconds.
   *
   * @returns false when it is reserved by somebody else, or is not uncertain under that token.
   */
  abstract reserve(id: string, token: string, ms: number): Promise<boolean>;

  /**
   * Calls `wake` when the row of `id` is completed or released, until the returned function is called.
   * Resolves once the subscription is in force. A wake-up may be lost or spurious: callers look again
   * at an interval anyway. Stores without it are looked at on that interval only.
   */
  watch?(id: string, wake: () => void): Promise<() => void>;

  /**
   * Where the record of `id` is, for stores of several places: claims of one place are renewed together, so that one that
   * is down or hangs costs no other its leases. Without it all claims are renewed together.
   */
  placeOf?(id: string): string;

  /** Recovery points. Handlers on stores without it cannot have steps. */
  readonly steps?: StepStore;

  /** Transactions with the application's writes. Without it the option `transactional` is refused. */
  readonly transactions?: StoreTransactions;
}

/** Life of a row. A released row is `running` without a token. */
export type RecordState = 'running' | 'completed' | 'uncertain';

/** What was answered, ready to be answered again. */
export interface StoredResponse {
  /** HTTP status; null when `body` holds a returned value and not a wire answer. */
  readonly status: number | null;
  /** Headers to replay, names in lower case. */
  readonly headers: Readonly<Record<string, string | string[]>>;
  /** The bytes; null when the answer is recorded without its body and cannot be replayed. */
  readonly body: Uint8Array | null;
}

export interface ClaimRequest {
  /** 64 hex digits, see `identity.ts`. */
  readonly id: string;
  /** For people: the scope and key the id was made of. Only a hash travels into metrics. */
  readonly scope: string;
  readonly key: string;
  /** Hash of what must not change between retries. */
  readonly fingerprint: string;
  /** Random, one per claim; at most 64 characters. */
  readonly token: string;
  /** Life of the claim in milliseconds unless renewed. */
  readonly leaseMs: number;
  /** How long a row without a result is kept past its lease, in milliseconds, by stores that expire rows themselves. */
  readonly retentionMs: number;
  /** Whether a row whose lease ran out without a result may be taken over. */
  readonly takeOrphan: boolean;
}

export interface ClaimRef {
  readonly id: string;
  readonly token: string;
}

export type ClaimAnswer =
  /** The caller owns the key now. `fence` is greater than every fence given out for this id before. */
  | { readonly claimed: true; readonly attempt: number; readonly fence: bigint }
  /** Somebody else's. `record` is null when it vanished before it could be read: claim again. */
  | { readonly claimed: false; readonly record: StoredRecord | null };

export interface StoredRecord {
  readonly id: string;
  readonly scope: string;
  readonly key: string;
  readonly fingerprint: string;
  readonly state: RecordState;
  readonly attempt: number;
  /** Owner, or the one who completed it; null once released. */
  readonly token: string | null;
  /** Milliseconds left of a running claim by the server's clock; 0 when it ran out or is not running. */
  readonly leaseRemainingMs: number;
  /** Present in state `completed` only. */
  readonly response: StoredResponse | null;
  /** Milliseconds since 1970 by the server's clock. */
  readonly createdAt: number;
  readonly completedAt: number | null;
  /** null while running or uncertain. */
  readonly expiresAt: number | null;
}
