import type { ResultStore } from '../result-store.js';
import { Placement, type Shard } from './placement.js';
import type { ShardedStoreOptions } from './options.js';

/** Where a record is. */
export interface Home {
  /** In the order in which they are claimed: the old place first, whoever asks. */
  readonly places: readonly [ResultStore, ...ResultStore[]];
  /** What it says is what is. The other place follows it. */
  readonly lead: ResultStore;
  /** The same for all records in the same places. */
  readonly name: string;
}

/**
 * Where records are, also while shards are being added or taken away. Then a key that moves has two places, and who
 * claims it claims both, in the same order whether it is told of the change by `next` or by `previous`.
 */
export class Homes {
  readonly #now: Placement;
  readonly #old: Placement | undefined;
  readonly #new: Placement | undefined;
  readonly #homes = new Map<string, Home>();

  constructor({ shards, next, previous }: ShardedStoreOptions) {
    this.#now = new Placement(shards);
    this.#old = previous && new Placement(previous);
    this.#new = next && new Placement(next);
  }

  /** Every shard there is. */
  get shards(): readonly Shard[] {
    const placements = [this.#now, this.#old, this.#new].filter((placement) => placement !== undefined);
    const byName = placements.flatMap(({ shards }) => shards.map((shard) => [shard.name, shard] as const));
    return [...new Map(byName).values()];
  }

  get stores(): readonly ResultStore[] {
    return this.shards.map(({ store }) => store);
  }

  of(id: string): Home {
    const lead = this.#now.shardOf(id);
    if (this.#old) return this.#home(lead, this.#old.shardOf(id), lead);
    if (this.#new) return this.#home(lead, lead, this.#new.shardOf(id));
    return this.#home(lead, lead, lead);
  }

  /** There are few of them. */
  #home(lead: Shard, from: Shard, to: Shard): Home {
    const moves = from.name !== to.name;
    const name = JSON.stringify(moves ? [from.name, to.name] : [from.name]);
    let home = this.#homes.get(name);
    if (!home) {
      const places = moves ? ([from.store, to.store] as const) : ([from.store] as const);
      this.#homes.set(name, (home = { name, places, lead: lead.store }));
    }
    return home;
  }
}
