import type { StoredRecord, StoredResponse } from './result-store.js';

/** What an operator or a reconcile hook decides about a record that has no answer. */
export interface Act {
  /** Random, one an act; at most 64 characters. An answered record carries it as its token from then on. */
  readonly actId: string;
  /** Of the record. */
  readonly id: string;
  /** What duplicates are answered from now on; null frees the key for the next call with the same payload. */
  readonly response: StoredResponse | null;
  /** Whether it is taken from an owner whose lease is not over. */
  readonly evenLive: boolean;
  /** Given: only while the record is uncertain and carries this token. */
  readonly uncertainToken?: string;
  /** How long the answer, or the freed record, is kept; in milliseconds. */
  readonly retentionMs: number;
  readonly by: string;
  readonly reason: string;
}

export type ActAnswer =
  | { readonly done: true }
  /** Nothing was changed; `record` is what is there instead. */
  | { readonly done: false; readonly record: StoredRecord | null };

/** An act that was done. Kept in the same step as its effect, and longer than its record. */
export interface AuditEntry {
  readonly actId: string;
  /** Of the record, and what it was made of. */
  readonly id: string;
  readonly scope: string;
  readonly key: string;
  /** The key was freed, or an answer was recorded. */
  readonly act: 'free' | 'answer';
  readonly by: string;
  readonly reason: string;
  /** The record's state before, and the number of its last attempt. */
  readonly state: 'running' | 'uncertain';
  readonly attempt: number;
  /** Milliseconds since 1970 by the server's clock. */
  readonly at: number;
}

/** Which records are listed. */
export interface ListQuery {
  /** `'stuck'`: running, and its lease is over: nobody works at it. */
  readonly state?: StoredRecord['state'] | 'stuck';
  /** Created at least so many milliseconds ago. */
  readonly olderThanMs?: number;
  readonly scope?: string;
  /** At most so many. */
  readonly limit: number;
  /** Where the last page ended. */
  readonly cursor?: string;
}

/** A record without its answer. */
export type ListedRecord = Omit<StoredRecord, 'response'>;

export interface ListPage {
  readonly records: ListedRecord[];
  /** For the next page; null at the end. A page may be empty and not the last. */
  readonly cursor: string | null;
}

/** Whether an act may be done on a record: where the store decides in this process. */
export function isActable(record: ListedRecord, act: Act): boolean {
  const { state, token } = record;
  if (act.uncertainToken !== undefined) return state === 'uncertain' && token === act.uncertainToken;
  if (state === 'completed') return false;
  if (token === null) return act.response !== null;
  return act.evenLive || record.leaseRemainingMs === 0;
}
