import { setTimeout as sleep } from 'node:timers/promises';
import { describeSteps } from '../support/step-suite.js';
import { describeStore, newRequest, type StoreUnderTest } from '../support/store-suite.js';
import { ADVERSE, DATABASES, open, openMigrated, storeOf } from './typeorm-flavours.js';

for (const flavour of [...DATABASES, ...ADVERSE]) {
  const create = async (): Promise<StoreUnderTest> => {
    const options = await flavour.create();
    const dataSource = await openMigrated(options);
    const second = await open(options);
    return {
      store: storeOf(flavour, dataSource),
      second: storeOf(flavour, second),
      cleanup: () => Promise.all([dataSource.destroy(), second.destroy()]),
    };
  };
  describeStore(flavour.name, create);
  describeSteps(flavour.name, create);
}

it.each(DATABASES)('G80 no step is left behind by a sweep: $name', async (flavour) => {
  const dataSource = await openMigrated(await flavour.create());
  const store = storeOf(flavour, dataSource);
  for (let n = 0; n < 5; n++) {
    const { id, token, ...rest } = newRequest();
    await store.claim({ id, token, ...rest });
    await store.steps.record(id, token, { name: 'pay', position: 0, result: '{}' });
    if (n < 3) await store.release(id, token, 'keep', 1);
  }
  await sleep(20);
  while ((await store.sweep(2)) === 2);
  const left = (table: string) => dataSource.query<unknown[]>(`SELECT * FROM ${table}`);
  expect(
    [await left('idempotency_record'), await left('idempotency_step')].map((rows) => rows.length),
  ).toEqual([2, 2]);
  await dataSource.destroy();
});
