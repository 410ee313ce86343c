import { within } from '../../engine/backend.js';
import type { Act, ActAnswer, AuditEntry, ListPage, ListQuery } from '../act.js';
import {
  type ClaimAnswer,
  type ClaimRef,
  type ClaimRequest,
  ResultStore,
  type StoredRecord,
  type StoredResponse,
} from '../result-store.js';
import { type Home, Homes } from './homes.js';
import type { StepStore } from '../step-store.js';
import type { StoreTransactions } from '../store-transactions.js';
import { checkShardedOptions, type ShardedStoreOptions } from './options.js';
import { ShardedOperator } from './sharded-operator.js';
import { ShardedSteps } from './sharded-steps.js';
import { ShardedTransactions } from './sharded-transactions.js';

/** How long a completion waits for the place that does not lead, in milliseconds. */
const FOLLOW_MS = 1_000;
/** How long the sweep waits for one shard, in milliseconds. */
const SWEEP_MS = 10_000;

/**
 * Results spread over several stores by their ids, so that one key always meets one unique index.
 *
 * While shards are being added or taken away, a key that moves has two places. It is owned by who has claimed both:
 * processes that know only one of the places meet him there. Whatever changes a record is done in the leading place
 * first; a record counts as completed as soon as it is completed in either.
 *
 * A shard that is down or hangs costs the keys it has, and no others.
 */
export class ShardedStore extends ResultStore {
  readonly name = 'sharded';
  declare readonly steps?: StepStore;
  declare readonly transactions?: StoreTransactions;
  readonly #homes: Homes;
  readonly #operator: ShardedOperator;
  readonly #sweeping = new Set<string>();
  #sweptFirst = 0;

  /** @throws TypeError when an option is not what it should be. */
  constructor(options: ShardedStoreOptions) {
    super();
    this.#homes = new Homes(checkShardedOptions(options));
    this.#operator = new ShardedOperator(this.#homes);
    const { stores } = this.#homes;
    if (stores.every((store) => typeof store.watch === 'function'))
      this.watch = (id, wake) => this.#watch(id, wake);
    if (stores.every((store) => store.steps)) this.steps = new ShardedSteps(this.#homes);
    if (stores.every((store) => store.transactions)) this.transactions = new ShardedTransactions(this.#homes);
  }

  claim(request: ClaimRequest): Promise<ClaimAnswer> {
    const home = this.#homes.of(request.id);
    const [store, next] = home.places;
    return next ? this.#claimBoth(home, request) : store.claim(request);
  }

  find(id: string): Promise<StoredRecord | null> {
    const { places, lead } = this.#homes.of(id);
    return places.length === 1 ? lead.find(id) : found(places, lead, id);
  }

  async complete(id: string, token: string, response: StoredResponse, retentionMs: number): Promise<boolean> {
    const { places, lead } = this.#homes.of(id);
    const isMine = await lead.complete(id, token, response, retentionMs);
    if (!isMine) return false;
    const other = places.find((place) => place !== lead);
    if (other) {
      // Only spares others a second look: the leading place has the answer, whatever becomes of this.
      const follow = () => other.complete(id, token, response, retentionMs);
      await within(FOLLOW_MS, 'The other place', follow).catch(() => undefined);
    }
    return true;
  }

  async renew(claims: readonly ClaimRef[], leaseMs: number): Promise<(boolean | null)[]> {
    const answers: (boolean | null)[] = claims.map(() => true);
    const batches = new Map<ResultStore, number[]>();
    claims.forEach(({ id }, index) => {
      for (const place of this.#homes.of(id).places) {
        const batch = batches.get(place);
        if (batch) batch.push(index);
        else batches.set(place, [index]);
      }
    });
    const renewals = [...batches].map(([place, indices]) => {
      const refs = indices.map((index) => claims[index]!);
      return place.renew(refs, leaseMs).then(
        (renewed) => indices.forEach((index, at) => (answers[index] = both(answers[index], renewed[at]))),
        (error: unknown) => {
          for (const index of indices) answers[index] = both(answers[index], null);
          return { error };
        },
      );
    });
    const failures = (await Promise.all(renewals)).filter((failure) => failure !== undefined);
    if (failures.length > 0 && failures.length === batches.size) throw failures[0]!.error;
    return answers;
  }

  async release(id: string, token: string, mode: 'forget' | 'keep', retentionMs: number): Promise<boolean> {
    const { places } = this.#homes.of(id);
    // The first place last: who finds it free finds the other free as well.
    return anyOf([...places].reverse(), (place) => place.release(id, token, mode, retentionMs));
  }

  markUncertain(id: string, token: string, orphanOnly?: boolean): Promise<boolean> {
    return anyOf(this.#homes.of(id).places, (place) => place.markUncertain(id, token, orphanOnly));
  }

  /**
   * One shard after the other, beginning with another one each time. One that is down is swept when it is back, one that
   * hangs is not waited for, and asked again once it has answered.
   */
  async sweep(limit: number): Promise<number> {
    const { shards } = this.#homes;
    const from = this.#sweptFirst++ % shards.length;
    const errors: unknown[] = [];
    let removed = 0;
    for (const { name, store } of [...shards.slice(from), ...shards.slice(0, from)]) {
      if (removed >= limit) break;
      try {
        removed += await this.#sweepShard(name, store, limit - removed);
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length === shards.length) throw new AggregateError(errors, 'No shard could be swept');
    return removed;
  }

  act(act: Act): Promise<ActAnswer> {
    return this.#operator.act(act);
  }

  audit(id: string): Promise<AuditEntry[]> {
    return this.#operator.audit(id);
  }

  list(query: ListQuery): Promise<ListPage> {
    return this.#operator.list(query);
  }

  reserve(id: string, token: string, ms: number): Promise<boolean> {
    return this.#operator.reserve(id, token, ms);
  }

  override placeOf(id: string): string {
    return this.#homes.of(id).name;
  }

  async #claimBoth({ places }: Home, request: ClaimRequest): Promise<ClaimAnswer> {
    const [first, second] = places as readonly [ResultStore, ResultStore];
    const one = await first.claim(request);
    if (!one.claimed) {
      if (!one.record || one.record.state === 'completed') return one;
      // The other place may know the answer: its owner has died between the two.
      const record = await second.find(request.id);
      return record?.state === 'completed' ? { claimed: false, record } : one;
    }
    const other = await second.claim(request);
    if (other.claimed) {
      return {
        claimed: true,
        attempt: Math.max(one.attempt, other.attempt),
        fence: one.fence > other.fence ? one.fence : other.fence,
      };
    }
    await first.release(request.id, request.token, 'forget', request.retentionMs);
    return other;
  }

  #sweepShard(name: string, store: ResultStore, limit: number): Promise<number> {
    if (this.#sweeping.has(name)) throw new Error(`Shard ${name} has not answered the last sweep yet`);
    this.#sweeping.add(name);
    const sweep = () => store.sweep(limit).finally(() => this.#sweeping.delete(name));
    return within(SWEEP_MS, `Shard ${name}`, sweep);
  }

  async #watch(id: string, wake: () => void): Promise<() => void> {
    const { places } = this.#homes.of(id);
    const watches = await Promise.allSettled(places.map((place) => place.watch!(id, wake)));
    const stop = () => watches.forEach((watch) => watch.status === 'fulfilled' && watch.value());
    const failed = watches.find((watch) => watch.status === 'rejected');
    if (!failed) return stop;
    stop();
    throw failed.reason;
  }
}

/** Results spread over several stores by their ids. @throws TypeError when an option is not what it should be. */
export function shardedStore(options: ShardedStoreOptions): ShardedStore {
  return new ShardedStore(options);
}

/** Owned in both places, lost in one of them, or nobody can tell. */
function both(one: boolean | null = null, other: boolean | null = null): boolean | null {
  if (one === false || other === false) return false;
  return one && other;
}

/** Of what the places know the most certain; of equals what the leading one says. */
async function found(
  places: readonly ResultStore[],
  lead: ResultStore,
  id: string,
): Promise<StoredRecord | null> {
  const inOrder = [lead, ...places.filter((place) => place !== lead)];
  const records = await Promise.all(inOrder.map((place) => place.find(id)));
  const ranked = records
    .filter((record) => record !== null)
    .toSorted((a, b) => certaintyOf(b) - certaintyOf(a));
  return ranked[0] ?? null;
}

function certaintyOf({ state, token, leaseRemainingMs }: StoredRecord): number {
  if (state === 'completed') return 4;
  if (state === 'uncertain') return 3;
  if (token !== null) return leaseRemainingMs > 0 ? 2 : 1;
  return 0;
}

/** Done in each place in turn. @throws the first error, after all have been tried. */
async function anyOf(
  places: readonly ResultStore[],
  act: (place: ResultStore) => Promise<boolean>,
): Promise<boolean> {
  const errors: unknown[] = [];
  let isDone = false;
  for (const place of places) {
    try {
      isDone = (await act(place)) || isDone;
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length) throw errors[0];
  return isDone;
}
