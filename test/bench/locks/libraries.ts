/** What is used of the libraries we are compared with. They are installed for this benchmark only. */
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import type { Redis } from 'ioredis';

export interface Libraries {
  readonly Redlock: new (
    clients: readonly Redis[],
    settings: object,
  ) => { acquire(names: string[], ttlMs: number): Promise<{ release(): Promise<unknown> }> };
  readonly Mutex: new (client: Redis, name: string, options: object) => SemaphoreMutex;
  readonly RedlockMutex: new (clients: readonly Redis[], name: string, options: object) => SemaphoreMutex;
  readonly Verrou: new (config: object) => { createLock(name: string, ttlMs: number): VerrouLock };
  readonly redisStore: (options: { connection: Redis }) => object;
  readonly createZooKeeperClient: (servers: string, options: object) => ZooKeeperClient;
  readonly EPHEMERAL_SEQUENTIAL: number;
}

interface SemaphoreMutex {
  acquire(): Promise<void>;
  release(): Promise<void>;
}

interface VerrouLock {
  acquire(): Promise<boolean>;
  release(): Promise<void>;
}

type Callback<T = unknown> = (error: Error | null, value: T) => void;

export interface ZooKeeperClient {
  once(event: 'connected', listener: () => void): unknown;
  connect(): void;
  close(): void;
  mkdirp(path: string, callback: Callback): void;
  create(path: string, data: Buffer | null, acls: null, mode: number, callback: Callback<string>): void;
  getChildren(path: string, callback: Callback<string[]>): void;
  remove(path: string, version: number, callback: Callback): void;
}

/** From a folder of their own: what they need may not fit with what the project needs. */
const peers = createRequire(new URL('../../../../peers/package.json', import.meta.url));

async function load(name: string): Promise<Record<string, any>> {
  const module = (await import(pathToFileURL(peers.resolve(name)).href)) as Record<string, any>;
  // All exports of a CommonJS module are in its default, its own `default` among them.
  return module.default && 'default' in module.default ? (module.default as Record<string, any>) : module;
}

export async function libraries(): Promise<Libraries> {
  const [redlock, semaphore, verrou, drivers, zookeeper] = await Promise.all(
    ['redlock', 'redis-semaphore', '@verrou/core', '@verrou/core/drivers/redis', 'node-zookeeper-client'].map(
      load,
    ),
  );
  return {
    Redlock: redlock!.default,
    Mutex: semaphore!.Mutex,
    RedlockMutex: semaphore!.RedlockMutex,
    Verrou: verrou!.Verrou,
    redisStore: drivers!.redisStore,
    createZooKeeperClient: zookeeper!.default.createClient,
    EPHEMERAL_SEQUENTIAL: zookeeper!.default.CreateMode.EPHEMERAL_SEQUENTIAL,
  };
}
