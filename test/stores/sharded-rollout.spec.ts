import type { ResultStore } from 'nestjs-idempotent';
import { shardedStore } from 'nestjs-idempotent/stores/typeorm';
import { TestNode } from '../support/fixtures/node.js';
import { MARIADB, open, openMigrated, POSTGRES, storeOf } from './typeorm-flavours.js';

const FLAVOURS = { north: POSTGRES, south: MARIADB, west: POSTGRES } as const;

type Stores = Record<keyof typeof FLAVOURS, ResultStore>;

const old = ({ north, south }: Stores) => ({ north, south });
const STEPS = [
  (stores: Stores) => shardedStore({ shards: old(stores) }),
  (stores: Stores) => shardedStore({ shards: old(stores), next: stores }),
  (stores: Stores) => shardedStore({ shards: stores, previous: old(stores) }),
  (stores: Stores) => shardedStore({ shards: stores }),
] as const;

it('G01 a third database is added, step by step: two processes of neighbouring steps run every key once', async () => {
  const names = Object.keys(FLAVOURS) as (keyof typeof FLAVOURS)[];
  const options = await Promise.all(names.map((name) => FLAVOURS[name].create()));
  // Two processes, each with connections of its own.
  const opened = [
    await Promise.all(options.map((one) => openMigrated(one))),
    await Promise.all(options.map((one) => open(one))),
  ] as const;
  const [first, second] = opened.map((dataSources) => {
    const stores = names.map((name, i) => [name, storeOf(FLAVOURS[name], dataSources[i]!)]);
    return Object.fromEntries(stores) as Stores;
  }) as [Stores, Stores];

  const runs = new Map<string, number>();
  const answers = new Map<string, unknown>();
  const nodeIn = (step: number, stores: Stores) =>
    new TestNode({ store: STEPS[step]!(stores), options: { onConflict: 'wait', backendTimeoutMs: 10_000 } });
  async function call(node: TestNode, key: string): Promise<void> {
    const { value } = await node.run({ key }, () => {
      runs.set(key, (runs.get(key) ?? 0) + 1);
      return `${key} ${Math.random()}`;
    });
    if (!answers.has(key)) answers.set(key, value);
    expect(value).toBe(answers.get(key));
  }

  const made: string[][] = [];
  for (const step of [0, 1, 2]) {
    const nodes = [nodeIn(step, first), nodeIn(step + 1, second)] as const;
    const keys = Array.from({ length: 30 }, (_, i) => `${step}.${i}`);
    await Promise.all(keys.flatMap((key) => [...nodes, ...nodes].map((node) => call(node, key))));
    // Of those before as well; in the last step, of those that have been in both places.
    for (const key of made.flat()) if (step < 2 || !key.startsWith('0')) await call(nodes[1], key);
    made.push(keys);
  }
  expect([...runs.values()]).toEqual(made.flat().map(() => 1));
  await Promise.all(opened.flat().map((dataSource) => dataSource.destroy()));
}, 60_000);
