import { setTimeout as sleep } from 'node:timers/promises';
import { memoryStore, type ResultStore, type StoredResponse } from 'nestjs-idempotent';
import { shardedStore } from 'nestjs-idempotent/stores/typeorm';
import { newRequest, retryOf } from '../support/store-suite.js';

const LONG = 60_000;
const ANSWER: StoredResponse = { status: 201, headers: {}, body: Buffer.from('paid') };

/** Every key moves from one place to another. */
describe.each(['next', 'previous'] as const)('a key in two places, told by %s', (option) => {
  const [from, to] = [memoryStore(), memoryStore()];
  const store =
    option === 'next'
      ? shardedStore({ shards: { from }, next: { to } })
      : shardedStore({ shards: { to }, previous: { from } });
  const both = (id: string) => Promise.all([from, to].map((place) => place.find(id)));

  it('is owned in both, and answered in both', async () => {
    const request = newRequest();
    expect(await store.claim(request)).toMatchObject({ claimed: true, attempt: 1 });
    const running = { state: 'running', token: request.token };
    expect(await both(request.id)).toMatchObject([running, running]);
    expect(await store.renew([request], 2 * LONG)).toEqual([true]);
    for (const record of await both(request.id)) expect(record!.leaseRemainingMs).toBeGreaterThan(LONG + 1);
    await store.complete(request.id, request.token, ANSWER, LONG);
    expect(await both(request.id)).toMatchObject([{ response: ANSWER }, { response: ANSWER }]);
  });

  it.each<[string, ResultStore]>([
    ['old', from],
    ['new', to],
  ])('G10 is not owned by who loses it in the %s place', async (_name, place) => {
    const request = newRequest();
    await store.claim(request);
    await place.release(request.id, request.token, 'keep', LONG);
    await place.claim(retryOf(request));
    expect(await store.renew([request], LONG)).toEqual([false]);
  });

  it.each<[string, ResultStore]>([
    ['old', from],
    ['new', to],
  ])(
    'is refused while it runs in the %s place, and nothing is left behind in the other',
    async (_name, place) => {
      const running = newRequest();
      await place.claim(running);
      const answer = await store.claim(retryOf(running));
      expect(answer).toMatchObject({ claimed: false, record: { state: 'running', token: running.token } });
      const others = await Promise.all(
        [from, to].filter((one) => one !== place).map((one) => one.find(running.id)),
      );
      expect(others).toEqual([null]);
    },
  );

  it.each<[string, ResultStore, ResultStore]>([
    ['old', from, to],
    ['new', to, from],
  ])(
    'G05 an answer in the %s place is told, though the other holds an orphan',
    async (_name, place, other) => {
      const request = newRequest({ leaseMs: 10 });
      await other.claim(request);
      await place.claim(request);
      await place.complete(request.id, request.token, ANSWER, LONG);
      await sleep(20);
      for (const takeOrphan of [false, true]) {
        const answer = await store.claim(retryOf(request, { takeOrphan }));
        expect(answer).toMatchObject({ claimed: false, record: { state: 'completed', response: ANSWER } });
      }
      expect(await store.find(request.id)).toMatchObject({ state: 'completed' });
    },
  );

  it('G51 is uncertain in both', async () => {
    const request = newRequest();
    await store.claim(request);
    expect(await store.markUncertain(request.id, request.token)).toBe(true);
    expect(await both(request.id)).toMatchObject([{ state: 'uncertain' }, { state: 'uncertain' }]);
  });

  it.each<[string, ResultStore]>([
    ['old', from],
    ['new', to],
  ])('G51 steps recorded in the %s place are told', async (_name, place) => {
    const request = newRequest();
    await store.claim(request);
    await place.steps!.record(request.id, request.token, { name: 'pay', position: 0, result: '1' });
    await store.steps!.record(request.id, request.token, { name: 'mail', position: 1, result: '2' });
    const steps = await store.steps!.list(request.id);
    expect(steps.map(({ name, result }) => [name, result])).toEqual([
      ['pay', '1'],
      ['mail', '2'],
    ]);
    for (const one of [from, to]) {
      expect((await one.steps.list(request.id)).map(({ name }) => name)).toContain('mail');
    }
  });

  it('wakes whoever waits, wherever it is released', async () => {
    const request = newRequest();
    await store.claim(request);
    let wakes = 0;
    const stop = await store.watch!(request.id, () => wakes++);
    await store.release(request.id, request.token, 'keep', LONG);
    expect(wakes).toBe(2);
    stop();
    await store.claim(retryOf(request));
    await from.release(request.id, request.token, 'keep', LONG);
    expect(wakes).toBe(2);
  });
});

it.each<[string, () => Promise<boolean>]>([
  ['is down', () => Promise.reject(new Error('down'))],
  ['hangs', () => new Promise(() => undefined)],
])('G21 the other place %s: the answer is recorded in the leading one, and told', async (_how, complete) => {
  const to = memoryStore();
  const from = Object.assign(Object.create(memoryStore()) as ResultStore, { complete });
  const store = shardedStore({ shards: { to }, previous: { from } });
  const request = newRequest();
  await store.claim(request);
  expect(await store.complete(request.id, request.token, ANSWER, LONG)).toBe(true);
  expect(await store.claim(retryOf(request))).toMatchObject({ claimed: false, record: { response: ANSWER } });
});

it('only stores that wake make one that wakes', () => {
  const silent = Object.assign(Object.create(memoryStore()) as ResultStore, { watch: undefined });
  const wakes = (...shards: ResultStore[]) => shardedStore({ shards }).watch !== undefined;
  expect(wakes(memoryStore(), memoryStore())).toBe(true);
  expect(wakes(memoryStore(), silent)).toBe(false);
});

it('G11 of a batch over several shards, one of which cannot be asked, the others are answered', async () => {
  const down = Object.assign(Object.create(memoryStore()) as ResultStore, {
    renew: () => Promise.reject(new Error('down')),
  });
  const store = shardedStore({ shards: { down, up: memoryStore() } });
  const requests = Array.from({ length: 40 }, () => newRequest());
  for (const request of requests) await store.claim(request);
  const isUp = ({ id }: { id: string }) => store.placeOf(id).includes('up');
  expect(await store.renew(requests, LONG)).toEqual(requests.map((one) => (isUp(one) ? true : null)));
  const lost = requests.map(({ id }) => ({ id, token: 'other' }));
  expect(await store.renew(lost, LONG)).toEqual(requests.map((one) => (isUp(one) ? false : null)));
  await expect(
    store.renew(
      requests.filter((one) => !isUp(one)),
      LONG,
    ),
  ).rejects.toThrow('down');
});

it('G80 a shard that cannot be swept does not keep the others from being', async () => {
  const down = Object.assign(Object.create(memoryStore()) as ResultStore, {
    sweep: () => Promise.reject(new Error('down')),
  });
  const healthy = memoryStore();
  const { id, token, ...rest } = newRequest();
  await healthy.claim({ id, token, ...rest });
  await healthy.complete(id, token, ANSWER, 1);
  await sleep(10);
  const store = shardedStore({ shards: [down, healthy] });
  expect((await store.sweep(10)) + (await store.sweep(10))).toBe(1);
  await expect(shardedStore({ shards: [down] }).sweep(10)).rejects.toThrow('No shard could be swept');
});
