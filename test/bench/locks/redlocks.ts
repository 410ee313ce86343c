/** Locks over several independent Redis nodes. */
import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { LockService } from 'nestjs-idempotent';
import { redlock } from 'nestjs-idempotent/locks/redis';
import { floorClient, type Instance, PATIENCE_MS, TTL_MS } from './contenders.js';
import { libraries } from './libraries.js';

export interface RedlockContender {
  readonly name: string;
  readonly label: string;
  open(redisUrls: readonly string[]): Promise<Instance>;
}

async function connected(redisUrls: readonly string[]): Promise<Redis[]> {
  const clients = redisUrls.map((url) => new Redis(url));
  await Promise.all(clients.map((client) => client.ping()));
  return clients;
}

function closing(clients: readonly Redis[]): () => void {
  return () => clients.forEach((client) => client.disconnect());
}

/** Five SETs at once, five releases at once; it counts to three. */
const FLOOR: RedlockContender = {
  name: 'floor',
  label: 'floor: five SETs by hand',
  async open(redisUrls) {
    const clients = await Promise.all(redisUrls.map(floorClient));
    return {
      async acquire(name) {
        const token = randomUUID();
        const votes = await Promise.all(clients.map((client) => client.set(name, token, 'PX', TTL_MS, 'NX')));
        if (votes.filter(Boolean).length < 3) throw new Error(`${name} is locked`);
        return () => Promise.all(clients.map((client) => client.unlock(name, token)));
      },
      close: closing(clients),
    };
  },
};

const OURS: RedlockContender = {
  name: 'ours',
  label: 'nestjs-idempotent',
  async open(redisUrls) {
    const clients = await connected(redisUrls);
    // The nodes have just been started: with it none of them would have a vote yet.
    const locks = new LockService(redlock({ clients, delayedRestart: false }));
    return {
      async acquire(name) {
        const result = await locks.acquire(name, { ttlMs: TTL_MS, waitMs: PATIENCE_MS });
        if (result.status !== 'acquired') throw new Error(`${name}: ${result.status}`);
        return () => result.lease.release();
      },
      close: closing(clients),
    };
  },
};

const REDLOCK: RedlockContender = {
  name: 'redlock',
  label: 'redlock 5.0.0-beta.2',
  async open(redisUrls) {
    const clients = await connected(redisUrls);
    const { Redlock } = await libraries();
    const locks = new Redlock(clients, { retryCount: -1 });
    return {
      async acquire(name) {
        const lock = await locks.acquire([name], TTL_MS);
        return () => lock.release();
      },
      close: closing(clients),
    };
  },
};

const SEMAPHORE: RedlockContender = {
  name: 'redis-semaphore',
  label: 'redis-semaphore 5.8.0',
  async open(redisUrls) {
    const clients = await connected(redisUrls);
    const { RedlockMutex } = await libraries();
    return {
      async acquire(name) {
        const mutex = new RedlockMutex(clients, name, { lockTimeout: TTL_MS, acquireTimeout: PATIENCE_MS });
        await mutex.acquire();
        return () => mutex.release();
      },
      close: closing(clients),
    };
  },
};

export const REDLOCKS: readonly RedlockContender[] = [FLOOR, OURS, REDLOCK, SEMAPHORE];
