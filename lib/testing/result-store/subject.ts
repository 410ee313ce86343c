import { setTimeout as sleep } from 'node:timers/promises';
import type { ClaimRequest, ResultStore, StoredRecord, StoredResponse } from '../../stores/result-store.js';
import { expect } from '../expect.js';
import { later } from '../test-runner.js';
import { LONG, newRequest, RESPONSE, SHORT } from './requests.js';

/** What a conformance suite for stores tests. */
export interface StoreUnderTest {
  readonly store: ResultStore;
  /** The same results through another connection, where the store has connections. */
  readonly second?: ResultStore;
  /** In how many places each row is, and is swept. @default 1 */
  readonly copies?: number;
  readonly cleanup: () => Promise<unknown>;
}

/** The store of a suite, and what its tests do to it all the time. */
export class StoreSubject {
  readonly store: ResultStore;
  readonly second: ResultStore;

  constructor(private readonly made: () => StoreUnderTest) {
    this.store = later(() => made().store);
    this.second = later(() => made().second ?? made().store);
  }

  readonly copies = () => this.made().copies ?? 1;

  /** Lets a lease or a retention of `SHORT` run out. */
  readonly expire = () => sleep(SHORT + 20);

  readonly claimed = async (request: ClaimRequest): Promise<{ attempt: number; fence: bigint }> => {
    const answer = await this.store.claim(request);
    if (!answer.claimed) throw new Error(`not claimed: ${JSON.stringify(answer.record)}`);
    return answer;
  };

  readonly refused = async (request: ClaimRequest): Promise<StoredRecord> => {
    const answer = await this.store.claim(request);
    if (answer.claimed) throw new Error('claimed, though it should not be');
    if (!answer.record) throw new Error('refused without a record');
    return answer.record;
  };

  readonly completed = async (
    request: ClaimRequest,
    retentionMs = LONG,
    response: StoredResponse = RESPONSE,
  ): Promise<void> => {
    await this.claimed(request);
    expect(await this.store.complete(request.id, request.token, response, retentionMs)).toBe(true);
  };

  /** A record in each of the states an act of an operator may meet. */
  readonly make = {
    live: async (changes: Partial<ClaimRequest> = {}) => {
      const request = newRequest(changes);
      await this.claimed(request);
      return request;
    },
    stuck: async (changes: Partial<ClaimRequest> = {}) => {
      const request = await this.make.live({ leaseMs: SHORT, ...changes });
      await this.expire();
      return request;
    },
    uncertain: async (changes: Partial<ClaimRequest> = {}) => {
      const request = await this.make.live(changes);
      expect(await this.store.markUncertain(request.id, request.token)).toBe(true);
      return request;
    },
    free: async (changes: Partial<ClaimRequest> = {}) => {
      const request = await this.make.live(changes);
      expect(await this.store.release(request.id, request.token, 'keep', LONG)).toBe(true);
      return request;
    },
    completed: async (changes: Partial<ClaimRequest> = {}) => {
      const request = newRequest(changes);
      await this.completed(request);
      return request;
    },
  };
}
