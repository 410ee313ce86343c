import { LockService, type ResultStore } from 'nestjs-idempotent';
import { redisLock } from 'nestjs-idempotent/locks/redis';
import { redisStore } from 'nestjs-idempotent/stores/redis';
import { openMigrated, POSTGRES, storeOf } from '../stores/typeorm-flavours.js';
import { eventually } from '../support/eventually.js';
import { TestNode } from '../support/fixtures/node.js';
import { type FaultProxy, startProxy } from '../support/proxy.js';
import { redisClient } from '../support/redis-client.js';
import { type RedisServer, startRedis } from '../../sample-app/servers/servers.js';

const TTL_MS = 60_000;

/** Replication is asynchronous: a master that dies takes along what its replica has not got yet. */
describe('a replica that is promoted', () => {
  let master: RedisServer;
  let replica: RedisServer;
  /** Between them. */
  let network: FaultProxy;

  beforeEach(async () => {
    const args = ['--repl-diskless-sync-delay', '0'];
    master = await startRedis({ args });
    network = await startProxy(master.port);
    replica = await startRedis({ args: [...args, '--replicaof', '127.0.0.1', String(network.port)] });
    const admin = redisClient(replica.url);
    await eventually(
      async () => (await admin.info('replication')).includes('master_link_status:up'),
      'a replica in step',
    );
  });
  afterEach(async () => {
    await network.close();
    await Promise.all([master.stop(), replica.stop()]);
  });

  /** The network to the replica is slow for a moment; in that moment `work` is done, and the master dies. */
  async function unreplicated<T>(work: () => Promise<T>): Promise<T> {
    network.drop();
    const result = await work();
    await master.kill();
    await redisClient(replica.url).call('REPLICAOF', 'NO', 'ONE');
    return result;
  }

  function startNode(url: string, store?: ResultStore) {
    const client = redisClient(url);
    const lock = redisLock({ client });
    return {
      locks: new LockService(lock),
      node: new TestNode({
        lock,
        store: store ?? redisStore({ client }),
        options: { backendTimeoutMs: 500 },
      }),
    };
  }

  it('redisLock: two hold the lock; the fence of the first is the smaller one', async () => {
    const [a, b] = [startNode(master.url), startNode(replica.url)];
    const first = await unreplicated(() => a.locks.acquire('order', { ttlMs: TTL_MS, renew: false }));
    const second = await b.locks.acquire('order', { ttlMs: TTL_MS, renew: false });
    if (first.status !== 'acquired' || second.status !== 'acquired') throw new Error('not acquired');
    expect(first.lease.remainingMs()).toBeGreaterThan(0);
    expect(() => first.lease.assertHeld()).not.toThrow();
    expect(second.lease.fence).toBeGreaterThan(first.lease.fence);
  });

  it('redisLock before a SQL store: the handler runs once, whoever holds the lock', async () => {
    const dataSource = await openMigrated(await POSTGRES.create());
    const [a, b] = [master.url, replica.url].map((url) => startNode(url, storeOf(POSTGRES, dataSource)));
    let runs = 0;
    let finish!: (answer: string) => void;
    let running: Promise<unknown> | undefined;
    await unreplicated(async () => {
      await new Promise<void>((begun) => {
        running = a!.node.run({ key: 'refund' }, () => {
          runs++;
          begun();
          return new Promise<string>((resolve) => (finish = resolve));
        });
      });
    });
    const again = () => b!.node.run({ key: 'refund' }, () => `paid ${++runs} times`);
    await expect(again()).rejects.toMatchObject({ code: 'in-progress' });
    finish('paid');
    expect(await running).toMatchObject({ value: 'paid', replayed: false });
    expect(await again()).toMatchObject({ value: 'paid', replayed: true });
    expect(runs).toBe(1);
    await dataSource.destroy();
  });

  it('redisStore: an answer that was not replicated is gone, and its handler runs again', async () => {
    const [a, b] = [startNode(master.url), startNode(replica.url)];
    let runs = 0;
    const pay = () => `paid ${++runs} times`;
    await a.node.run({ key: 'replicated' }, () => 'paid');
    expect(await redisClient(master.url).wait(1, 5_000)).toBe(1);
    await unreplicated(() => a.node.run({ key: 'refund' }, pay));
    expect(await b.node.run({ key: 'refund' }, pay)).toMatchObject({
      value: 'paid 2 times',
      replayed: false,
    });
    expect(await b.node.run({ key: 'replicated' }, pay)).toMatchObject({ value: 'paid', replayed: true });
  });
});
