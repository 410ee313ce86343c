import { systemClock } from '../../lib/engine/clock.js';
import type { LockLease } from '../../lib/locks/lock-lease.js';
import { type AcquireOptions, LockService } from '../../lib/locks/lock.service.js';
import { folderOf, lineOf, type Place } from '../../lib/locks/zookeeper/line.js';
import {
  type ZooKeeperLock,
  type ZooKeeperLockOptions,
  zookeeperLock,
} from '../../lib/locks/zookeeper/index.js';
import { Connection } from '../../lib/zookeeper/connection.js';
import {
  Code,
  closeSession,
  deleteNode,
  getChildren,
  isRefusal,
  sync,
} from '../../lib/zookeeper/protocol.js';
import { atEnd } from '../support/lanes.js';
import type { FaultProxy } from '../support/proxy.js';
import { fourLetters, type ZooKeeperServer } from '../../sample-app/servers/zookeeper.js';

export const LONG_MS = 30_000;
/** Outlives what a busy machine does to a process. */
const SESSION_MS = 10_000;
/** For tests that wait for its end. */
export const SHORT_SESSION_MS = 1_800;
/** Time a test gives an operation that gets no answer. */
const BACKEND_MS = 1_000;

const ROOT = '/nestjs-idempotent/locks';

export interface Client {
  readonly lock: ZooKeeperLock;
  readonly locks: LockService;
}

/** A driver with a session of its own, as another process would have it. */
export function client(connect: string, options: Partial<ZooKeeperLockOptions> = {}): Client {
  const lock = zookeeperLock({ connect, sessionTimeoutMs: SESSION_MS, ...options });
  atEnd(() => lock.close());
  return { lock, locks: new LockService(lock, { backendTimeoutMs: BACKEND_MS }) };
}

export function through(...proxies: FaultProxy[]): string {
  return proxies.map(({ port }) => `127.0.0.1:${port}`).join(',');
}

export async function acquired(
  { locks }: Client,
  name: string,
  options: Partial<AcquireOptions> = {},
): Promise<LockLease> {
  const result = await locks.acquire(name, { ttlMs: LONG_MS, ...options });
  if (result.status !== 'acquired') throw new Error(`${name}: ${JSON.stringify(result)}`);
  return result.lease;
}

/** Resolves with the moment the lease is lost. */
export function loss({ signal }: LockLease): Promise<number> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(performance.now());
    signal.addEventListener('abort', () => resolve(performance.now()));
  });
}

/** The contenders of a lock, first come first, as the leader has them. */
export function lineAt(server: ZooKeeperServer, name: string): Promise<Place[]> {
  return asking(server, async (connection) => {
    await connection.request(sync());
    try {
      return lineOf((await connection.request(getChildren(folderOf(ROOT, name)))).value);
    } catch (error) {
      if (isRefusal(error, Code.noNode)) return [];
      throw error;
    }
  });
}

/** As an operator would. */
export async function removeFirst(server: ZooKeeperServer, name: string): Promise<void> {
  const [first] = await lineAt(server, name);
  await asking(server, (connection) =>
    connection.request(deleteNode(`${folderOf(ROOT, name)}/${first!.node}`)),
  );
}

/** Which of these locks have a node, with or without anybody in line. */
export async function leftAt(server: ZooKeeperServer, names: string[]): Promise<string[]> {
  const left = await asking(
    server,
    async (connection) => (await connection.request(getChildren(ROOT))).value,
  );
  return names.filter((name) => left.includes(folderOf(ROOT, name).slice(ROOT.length + 1)));
}

/** How many sessions watch each node of a lock, first come first. */
export async function watchersAt(server: ZooKeeperServer, name: string): Promise<number[]> {
  const blocks = (await fourLetters(server.port, 'wchp')).split(/^(?=\/)/m);
  const line = await lineAt(server, name);
  return line.map(({ node }) => {
    const block = blocks.find((text) => text.startsWith(`${folderOf(ROOT, name)}/${node}\n`)) ?? '';
    return block.split('\n').filter((text) => text.startsWith('\t')).length;
  });
}

async function asking<T>({ port }: ZooKeeperServer, ask: (connection: Connection) => Promise<T>): Promise<T> {
  const ticket = { id: 0n, password: Buffer.alloc(16), timeoutMs: 5_000, lastZxid: 0n };
  const deaf = { proven: () => undefined, told: () => undefined, closed: () => undefined };
  const connection = await Connection.open({ host: '127.0.0.1', port }, ticket, 5_000, deaf, systemClock);
  try {
    return await ask(connection);
  } finally {
    await connection.request(closeSession()).catch(() => undefined);
    connection.destroy('done');
  }
}

export async function until(condition: () => Promise<boolean> | boolean, withinMs = 10_000): Promise<void> {
  for (const end = performance.now() + withinMs; !(await condition());) {
    if (performance.now() > end) throw new Error('waited in vain');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
