import type { Shards } from './placement.js';

export interface ShardedStoreOptions {
  /**
   * The stores, e.g. `{ north: typeOrmStore({ dataSource: north }), south: … }`. A name belongs to its data and is never
   * given to another store. In a list the name is the position: stores are only ever added at the end.
   */
  readonly shards: Shards;
  /** Step 1 of a change: the shards there will be. Keys that move are claimed in both places; the old one leads. */
  readonly next?: Shards;
  /** Step 2 of a change: the shards there were. Keys that move are claimed in both places; the new one leads. */
  readonly previous?: Shards;
}

const METHODS = ['claim', 'find', 'complete', 'renew', 'release', 'markUncertain', 'sweep', 'act', 'list'];
const FIX = 'give one result store for each name, e.g. { north: typeOrmStore({ dataSource }) }';

/** @throws TypeError naming the option, what is wrong and the fix. */
export function checkShardedOptions(options: ShardedStoreOptions): ShardedStoreOptions {
  checkShards('shards', options?.shards);
  const { shards, next, previous } = options;
  if (next !== undefined && previous !== undefined) {
    throw new TypeError(
      'shardedStore({ next, previous }): both are given; first deploy next, then previous, see docs/sharding.md',
    );
  }
  for (const [option, others] of Object.entries({ next, previous })) {
    if (others === undefined) continue;
    checkShards(option, others);
    checkNames(option, shards, others);
  }
  return options;
}

function checkShards(option: string, shards: unknown): void {
  const where = `shardedStore({ ${option} }): ${option}`;
  if (typeof shards !== 'object' || shards === null || Object.keys(shards).length === 0) {
    throw new TypeError(`${where} has no store; ${FIX}`);
  }
  const seen = new Map<unknown, string>();
  for (const [name, store] of Object.entries(shards)) {
    if (!isStore(store)) throw new TypeError(`${where}.${name} is no result store; ${FIX}`);
    const twin = seen.get(store);
    if (twin !== undefined) {
      throw new TypeError(`${where}.${name} is ${twin} once more; each place has one name; ${FIX}`);
    }
    seen.set(store, name);
  }
}

/** A name that stood for another store would send its ids where their records are not. */
function checkNames(option: string, shards: Shards, others: Shards): void {
  const names = new Map(Object.entries(shards));
  const where = `shardedStore({ ${option} }): ${option}`;
  for (const [name, store] of Object.entries(others)) {
    const known = names.get(name);
    const other = [...names].find(([, one]) => one === store)?.[0];
    if ((known !== undefined && known !== store) || (other !== undefined && other !== name)) {
      throw new TypeError(
        `${where}.${name} is another store than shards.${name}; a store keeps its name (in a list: its position)`,
      );
    }
  }
  const isSame =
    names.size === Object.keys(others).length && Object.keys(others).every((name) => names.has(name));
  if (isSame) throw new TypeError(`${where} is the same as shards; leave it out`);
}

function isStore(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    METHODS.every((method) => typeof (value as Record<string, unknown>)[method] === 'function')
  );
}
