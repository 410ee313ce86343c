import { MemoryStore, memoryStore } from '../../lib/stores/memory.store.js';
import { describeSteps } from '../support/step-suite.js';
import { describeStore, newRequest } from '../support/store-suite.js';

for (const describeAll of [describeStore, describeSteps])
  describeAll('memory', async () => ({ store: memoryStore(), cleanup: async () => undefined }));

it('G80 a sweep looks at every row once, and goes on where the last one stopped', async () => {
  let wall = 0;
  const store = new MemoryStore({ mono: () => 0, wall: () => wall });
  const requests = Array.from({ length: 100 }, () => newRequest());
  for (const [i, request] of requests.entries()) {
    await store.claim(request);
    await store.complete(
      request.id,
      request.token,
      { status: 200, headers: {}, body: null },
      i % 2 ? 10 : 1_000,
    );
  }
  wall = 10;
  expect([await store.sweep(20), await store.sweep(20), await store.sweep(20)]).toEqual([20, 20, 10]);
  expect(await store.sweep(20)).toBe(0);
  wall = 1_000;
  expect(await store.sweep(1_000)).toBe(50);
});
