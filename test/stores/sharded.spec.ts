import { memoryStore, type ResultStore } from 'nestjs-idempotent';
import { shardedStore } from 'nestjs-idempotent/stores/typeorm';
import type { DataSource } from 'typeorm';
import { describeSteps } from '../support/step-suite.js';
import { describeStore, newRequest, type StoreUnderTest } from '../support/store-suite.js';
import { type Flavour, MARIADB, open, openMigrated, POSTGRES, storeOf } from './typeorm-flavours.js';

type Named = Record<string, ResultStore>;

function suites(name: string, create: () => Promise<StoreUnderTest>): void {
  describeStore(name, create);
  describeSteps(name, create);
}

suites('sharded, in memory', async () => ({
  store: shardedStore({ shards: [memoryStore(), memoryStore(), memoryStore()] }),
  cleanup: async () => undefined,
}));

suites('sharded over PostgreSQL and MariaDB', async () => {
  const { first, second, cleanup } = await databases([POSTGRES, MARIADB]);
  return { store: shardedStore({ shards: first }), second: shardedStore({ shards: second }), cleanup };
});

// Every id moves.
suites('in step 1 of a move from PostgreSQL to MariaDB', async () => {
  const { first, second, cleanup } = await databases([POSTGRES, MARIADB]);
  const [before, after] = [pick('PostgreSQL'), pick('MariaDB')];
  const storeOf = (stores: Named) => shardedStore({ shards: before(stores), next: after(stores) });
  return { store: storeOf(first), second: storeOf(second), copies: 2, cleanup };
});

suites('in step 2 of a move from memory to memory', async () => {
  const [before, after] = [{ old: memoryStore() }, { new: memoryStore() }];
  const store = shardedStore({ shards: after, previous: before });
  return { store, copies: 2, cleanup: async () => undefined };
});

const pick =
  (name: string) =>
  (stores: Named): Named => ({ [name]: stores[name]! });

/** The same databases through two DataSources each. */
async function databases(flavours: readonly Flavour[]) {
  const opened: DataSource[] = [];
  const [first, second]: [Named, Named] = [{}, {}];
  for (const flavour of flavours) {
    const options = await flavour.create();
    opened.push(await openMigrated(options), await open(options));
    first[flavour.name] = storeOf(flavour, opened.at(-2)!);
    second[flavour.name] = storeOf(flavour, opened.at(-1)!);
  }
  return { first, second, cleanup: () => Promise.all(opened.map((dataSource) => dataSource.destroy())) };
}

describe('placement', () => {
  const ids = Array.from({ length: 6_000 }, () => newRequest().id);
  const homesOf = (names: readonly string[]) => {
    const store = shardedStore({ shards: Object.fromEntries(names.map((name) => [name, memoryStore()])) });
    return ids.map((id) => JSON.parse(store.placeOf(id))[0] as string);
  };

  it('is what it has always been', () => {
    const store = shardedStore({
      shards: { north: memoryStore(), south: memoryStore(), west: memoryStore() },
    });
    const homes = ['0', '1', '2', '3', '4', '5', '6', '7'].map((digit) => store.placeOf(digit.repeat(64)));
    expect(homes.map((home) => JSON.parse(home))).toEqual(
      ['south', 'north', 'north', 'south', 'north', 'north', 'south', 'west'].map((name) => [name]),
    );
  });

  it('is even, and does not depend on the order of the shards', () => {
    const homes = homesOf(['a', 'b', 'c']);
    for (const name of ['a', 'b', 'c']) {
      const share = homes.filter((home) => home === name).length;
      expect(share).toBeGreaterThan(1_800);
      expect(share).toBeLessThan(2_200);
    }
    expect(homesOf(['c', 'a', 'b'])).toEqual(homes);
  });

  it('a shard that is added takes its share, and nothing else moves', () => {
    const [before, after] = [homesOf(['a', 'b', 'c']), homesOf(['a', 'b', 'c', 'd'])];
    const moved = after.filter((home, i) => home !== before[i]);
    expect(new Set(moved)).toEqual(new Set(['d']));
    expect(moved.length).toBeGreaterThan(1_300);
    expect(moved.length).toBeLessThan(1_700);
  });
});

describe('options', () => {
  const [a, b] = [memoryStore(), memoryStore()];

  it.each<[object | undefined, string]>([
    [undefined, 'shards has no store; give one result store for each name'],
    [{ shards: [] }, 'shards has no store'],
    [{ shards: { a: 'postgres://' } }, 'shards.a is no result store'],
    [{ shards: [a, null] }, 'shards.1 is no result store'],
    [{ shards: { a, b: a } }, 'shards.b is a once more; each place has one name'],
    [{ shards: { a }, next: { a, b }, previous: { b } }, 'both are given; first deploy next, then previous'],
    [{ shards: { a }, next: {} }, 'next has no store'],
    [{ shards: { a }, previous: { a } }, 'previous is the same as shards; leave it out'],
    [
      { shards: { a, b }, previous: { a: b } },
      'previous.a is another store than shards.a; a store keeps its name',
    ],
    [{ shards: [a, b], previous: [b] }, 'previous.0 is another store than shards.0'],
    [{ shards: { a }, next: { c: a, b } }, 'next.c is another store than shards.c'],
  ])('%p is refused', (options, message) => {
    expect(() => shardedStore(options as never)).toThrow(TypeError);
    expect(() => shardedStore(options as never)).toThrow(message);
  });
});
