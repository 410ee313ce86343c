import { createHash, randomUUID } from 'node:crypto';
import type { Act } from '../../stores/act.js';
import type { ClaimRequest, ResultStore, StoredRecord, StoredResponse } from '../../stores/result-store.js';

/** Longer than a test, in milliseconds. */
export const LONG = 60_000;
/** Over soon, in milliseconds. */
export const SHORT = 30;

export const RESPONSE: StoredResponse = {
  status: 201,
  headers: { 'content-type': 'application/json', location: '/refunds/1', link: ['</a>', '</b>'] },
  body: Buffer.from('{"refundId":"1"}'),
};

/** A first claim of a new key. */
export function newRequest(changes: Partial<ClaimRequest> = {}): ClaimRequest {
  return {
    id: hash(randomUUID()),
    scope: 'Refunds.create',
    key: 'order-1',
    fingerprint: hash('payload'),
    token: randomUUID(),
    leaseMs: LONG,
    retentionMs: LONG,
    takeOrphan: false,
    ...changes,
  };
}

/** Another call for the same key and, unless changed, with the same payload. */
export function retryOf(request: ClaimRequest, changes: Partial<ClaimRequest> = {}): ClaimRequest {
  return { ...request, token: randomUUID(), ...changes };
}

export async function found(store: ResultStore, id: string): Promise<StoredRecord> {
  const record = await store.find(id);
  if (!record) throw new Error('there is no record');
  return record;
}

export function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** An act that frees the key of an uncertain or stuck record. */
export function newAct(changes: Partial<Act> & Pick<Act, 'id'>): Act {
  return {
    actId: randomUUID(),
    response: null,
    evenLive: false,
    retentionMs: LONG,
    by: 'Änne 😀',
    reason: `the bank's log says "no", see \\\\ticket 17`,
    ...changes,
  };
}
