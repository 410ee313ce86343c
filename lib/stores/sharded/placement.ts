import { hash } from 'node:crypto';
import type { ResultStore } from '../result-store.js';

/** Stores by name. The name decides what belongs to a store; in a list it is the position. */
export type Shards = readonly ResultStore[] | Readonly<Record<string, ResultStore>>;

export interface Shard {
  readonly name: string;
  readonly store: ResultStore;
}

/**
 * Rendezvous hashing (Thaler and Ravishankar, 1996): an id belongs to the shard whose name gives the greatest
 * SHA-256 of `name:id`, compared as hexadecimal text. A shard that is added takes its share of ids, evenly, from all
 * others; nothing moves between those.
 *
 * This is how data was placed: it can never change.
 */
export class Placement {
  readonly shards: readonly Shard[];

  constructor(shards: Shards) {
    this.shards = Object.entries(shards).map(([name, store]) => ({ name, store }));
  }

  shardOf(id: string): Shard {
    const [first, ...others] = this.shards as readonly [Shard, ...Shard[]];
    let home = first;
    let greatest = scoreOf(first, id);
    for (const shard of others) {
      const score = scoreOf(shard, id);
      if (score <= greatest) continue;
      home = shard;
      greatest = score;
    }
    return home;
  }
}

function scoreOf({ name }: Shard, id: string): string {
  return hash('sha256', `${name}:${id}`);
}
