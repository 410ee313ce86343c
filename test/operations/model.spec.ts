import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { idempotencyMigrations, typeOrmStore } from 'nestjs-idempotent/stores/typeorm';
import { DataSource } from 'typeorm';
import { POSTGRES, SQLITE } from '../stores/typeorm-flavours.js';
import { type Op, World } from './world.js';

/** `MODEL_RUNS=2000 MODEL_SEED=7` looks at more and other histories than every run of the tests does. */
const RUNS = Number(process.env.MODEL_RUNS ?? 60);
const SEED = Number(process.env.MODEL_SEED ?? 1);

const KEYS = 2;
const WORKERS = 3;
const key = fc.nat(KEYS - 1);
const worker = fc.nat(WORKERS - 1);

/** What may happen: calls, ends of calls, deaths, time, operators, hooks. Mostly to the keys there are few of. */
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ type: fc.constant('begin' as const), worker, key }) },
  {
    weight: 2,
    arbitrary: fc.record({
      ...{ type: fc.constant('ask' as const), worker, key },
      finding: fc.constantFrom('done' as const, 'retry' as const, 'unknown' as const),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      ...{ type: fc.constant('end' as const), owner: fc.nat(9) },
      how: fc.constantFrom(
        'complete' as const,
        'complete' as const,
        'release' as const,
        'uncertain' as const,
      ),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('renew' as const), owner: fc.nat(9) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('kill' as const), worker }) },
  {
    weight: 3,
    arbitrary: fc.record({ type: fc.constant('pass' as const), ms: fc.constantFrom(20_000, 40_000, 70_000) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      ...{ type: fc.constant('operate' as const), worker, key },
      how: fc.constantFrom('release' as const, 'answer' as const, 'retry' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('sweep' as const) }) },
);

/** Batches happen one after the other; what is in one happens at once. */
const history = fc.array(fc.array(op, { minLength: 1, maxLength: 4 }), { minLength: 5, maxLength: 25 });

describe.each([SQLITE, POSTGRES])('model: $name', ({ create }) => {
  let dataSource: DataSource;

  beforeAll(async () => {
    const options = { migrations: idempotencyMigrations, migrationsRun: true };
    dataSource = await new DataSource({ ...(await create()), ...options }).initialize();
  });
  afterAll(() => dataSource.destroy());

  it('G01 G10 G14 G51 one recorded outcome a key, every answer equal to it, never two live owners', async () => {
    const seen: World['seen'] = {
      owners: 0,
      recorded: 0,
      replayed: 0,
      superseded: 0,
      operated: 0,
      reconciled: 0,
    };
    const property = fc.asyncProperty(history, fc.boolean(), async (batches, withLock) => {
      const world = new World({
        store: typeOrmStore({ dataSource }),
        dataSource,
        prefix: randomUUID(),
        workers: WORKERS,
        withLock,
      });
      for (const batch of batches) await world.happen(batch);
      await world.end();
      for (const name of Object.keys(seen) as (keyof typeof seen)[]) seen[name] += world.seen[name];
    });
    await fc.assert(property, { seed: SEED, numRuns: RUNS });
    // Where nothing happens, nothing can go wrong.
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(0);
  }, 120_000);
});
