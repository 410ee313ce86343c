/**
 * Who is measured: locks in one Redis, and the same by hand. Each as its documentation has it, with its own way of
 * waiting; only the number of attempts is unlimited where the default gives up.
 */
import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { LockService } from 'nestjs-idempotent';
import { redisLock } from 'nestjs-idempotent/locks/redis';
import { libraries } from './libraries.js';

export const TTL_MS = 30_000;
export const PATIENCE_MS = 60_000;

export type Release = () => Promise<unknown>;

/** A lock library in one process: one connection, any number of callers. */
export interface Instance {
  /** Waits for as long as it takes. */
  acquire(name: string): Promise<Release>;
  close(): void;
}

export interface Contender {
  readonly name: string;
  readonly label: string;
  open(redisUrl: string): Promise<Instance>;
}

const UNLOCK = `if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end`;

/** A client with the script that releases by token. */
export type FloorClient = Redis & { unlock(key: string, token: string): Promise<number> };

export async function floorClient(redisUrl: string): Promise<FloorClient> {
  const client = new Redis(redisUrl);
  client.defineCommand('unlock', { numberOfKeys: 1, lua: UNLOCK });
  await client.ping();
  return client as FloorClient;
}

/** One SET, one script that compares the token; nothing else. It never waits: only for locks that are free. */
export const FLOOR: Contender = {
  name: 'floor',
  label: 'floor: ioredis by hand',
  async open(redisUrl) {
    const client = await floorClient(redisUrl);
    return {
      async acquire(name) {
        const token = randomUUID();
        if (!(await client.set(name, token, 'PX', TTL_MS, 'NX'))) throw new Error(`${name} is locked`);
        return () => client.unlock(name, token);
      },
      close: () => client.disconnect(),
    };
  },
};

/** Hand-off by a list: who pops the token has the lock. A connection for each who waits, and no expiry. */
export const BLOCKING_POP: Contender = {
  name: 'blpop',
  label: 'floor: blocking pop',
  async open(redisUrl) {
    const client = new Redis(redisUrl);
    const waiting = new Set<Redis>();
    const idle: Redis[] = [];
    const introduced = new Map<string, Promise<unknown>>();
    return {
      async acquire(name) {
        if (!introduced.has(name)) {
          introduced.set(
            name,
            client.set(`made:${name}`, '1', 'NX').then((made) => made && client.lpush(name, '1')),
          );
        }
        await introduced.get(name);
        const connection = idle.pop() ?? new Redis(redisUrl);
        waiting.add(connection);
        await connection.blpop(name, 0);
        idle.push(connection);
        return () => client.lpush(name, '1');
      },
      close: () => [client, ...waiting].forEach((connection) => connection.disconnect()),
    };
  },
};

export const OURS: Contender = {
  name: 'ours',
  label: 'nestjs-idempotent',
  async open(redisUrl) {
    const client = new Redis(redisUrl);
    const locks = new LockService(redisLock({ client }));
    await client.ping();
    return {
      async acquire(name) {
        const result = await locks.acquire(name, { ttlMs: TTL_MS, waitMs: PATIENCE_MS });
        if (result.status !== 'acquired') throw new Error(`${name}: ${result.status}`);
        return () => result.lease.release();
      },
      close: () => client.disconnect(),
    };
  },
};

const REDLOCK: Contender = {
  name: 'redlock',
  label: 'redlock 5.0.0-beta.2',
  async open(redisUrl) {
    const client = new Redis(redisUrl);
    const { Redlock } = await libraries();
    const redlock = new Redlock([client], { retryCount: -1 });
    return {
      async acquire(name) {
        const lock = await redlock.acquire([name], TTL_MS);
        return () => lock.release();
      },
      close: () => client.disconnect(),
    };
  },
};

const SEMAPHORE: Contender = {
  name: 'redis-semaphore',
  label: 'redis-semaphore 5.8.0',
  async open(redisUrl) {
    const client = new Redis(redisUrl);
    const { Mutex } = await libraries();
    return {
      async acquire(name) {
        const mutex = new Mutex(client, name, { lockTimeout: TTL_MS, acquireTimeout: PATIENCE_MS });
        await mutex.acquire();
        return () => mutex.release();
      },
      close: () => client.disconnect(),
    };
  },
};

const VERROU: Contender = {
  name: 'verrou',
  label: '@verrou/core 0.5.2',
  async open(redisUrl) {
    const client = new Redis(redisUrl);
    const { Verrou, redisStore } = await libraries();
    const verrou = new Verrou({
      default: 'redis',
      stores: { redis: { driver: redisStore({ connection: client }) } },
    });
    return {
      async acquire(name) {
        const lock = verrou.createLock(name, TTL_MS);
        if (!(await lock.acquire())) throw new Error(`${name} was not acquired`);
        return () => lock.release();
      },
      close: () => client.disconnect(),
    };
  },
};

export const LIBRARIES: readonly Contender[] = [OURS, REDLOCK, SEMAPHORE, VERROU];
