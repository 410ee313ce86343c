import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { redisStore } from 'nestjs-idempotent/stores/redis';
import { shardedStore } from 'nestjs-idempotent/stores/typeorm';
import { IdempotencyEngine } from '../../lib/engine/engine.js';
import type { CallIdentity, CallPolicy } from '../../lib/engine/policy.js';
import { eventually } from '../support/eventually.js';
import { redisClient } from '../support/redis-client.js';
import { type RedisServer, startRedis } from '../../sample-app/servers/servers.js';
import { hash } from '../support/store-suite.js';

const LEASE_MS = 1_500;
const POLICY: CallPolicy = {
  leaseMs: LEASE_MS,
  maxHoldMs: 60_000,
  retentionMs: 60_000,
  onConflict: 'reject',
  waitTimeoutMs: 0,
  onOrphan: 'retry',
  onUnavailable: 'reject',
  backendTimeoutMs: 400,
  maxResponseBytes: 1_000,
  reconcileTimeoutMs: 5_000,
};

describe('G85 a shard that is away costs the keys it has, and no others', () => {
  let servers: { a: RedisServer; b: RedisServer };
  let engine: IdempotencyEngine;
  let identityOn: (shard: 'a' | 'b') => CallIdentity;
  let sweep: () => Promise<number>;

  beforeAll(async () => {
    const [a, b] = await Promise.all([startRedis(), startRedis()]);
    servers = { a, b };
    const storeOf = ({ url }: RedisServer) => redisStore({ client: redisClient(url) });
    const store = shardedStore({ shards: { a: storeOf(a), b: storeOf(b) } });
    const log = { warn: () => undefined, error: () => undefined };
    engine = new IdempotencyEngine({ store, backendTimeoutMs: POLICY.backendTimeoutMs, log });
    sweep = () => store.sweep(10);
    identityOn = (shard) => {
      for (;;) {
        const id = hash(randomUUID());
        if (store.placeOf(id).includes(shard)) return { id, scope: 's', key: id, fingerprint: hash('f') };
      }
    };
  });

  async function run(shard: 'a' | 'b') {
    const begun = await engine.begin(identityOn(shard), POLICY);
    if (begun.kind !== 'run') throw new Error(begun.kind);
    return begun.ownership;
  }

  it.each([
    ['is dead', () => servers.a.kill(), () => servers.a.restart()],
    ['hangs', () => servers.a.pause(), () => servers.a.resume()],
  ])(
    '%s: leases elsewhere are kept, calls elsewhere go on, and it comes back',
    async (_how, leave, comeBack) => {
      // Renewed in batches: each of them has both kinds.
      const pairs = await Promise.all(Array.from({ length: 30 }, () => Promise.all([run('a'), run('b')])));
      const [gone, kept] = [pairs.map(([a]) => a), pairs.map(([, b]) => b)];
      await leave();
      await eventually(() => gone.every((ownership) => !ownership.isHeld()), 'lost leases');
      await sleep(LEASE_MS / 3);
      expect(kept.filter((ownership) => !ownership.isHeld())).toEqual([]);
      await expect(engine.begin(identityOn('a'), POLICY)).rejects.toMatchObject({ code: 'unavailable' });
      const response = { status: 200, headers: {}, body: Buffer.from('ok') };
      for (const ownership of [...kept, await run('b')]) {
        expect(await ownership.complete(response)).toEqual({ recorded: true });
      }
      await comeBack();
      await sleep(100);
      const again = await run('a');
      expect(await again.complete(response)).toEqual({ recorded: true });
      for (const ownership of gone) await ownership.release('keep');
      expect(await sweep()).toBe(0);
    },
  );
});
