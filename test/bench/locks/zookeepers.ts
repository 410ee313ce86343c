/** Locks in ZooKeeper. */
import { once } from 'node:events';
import { promisify } from 'node:util';
import { LockService } from 'nestjs-idempotent';
import { zookeeperLock } from 'nestjs-idempotent/locks/zookeeper';
import { type Instance, PATIENCE_MS, TTL_MS } from './contenders.js';
import { libraries } from './libraries.js';

export interface ZooKeeperContender {
  readonly name: string;
  readonly label: string;
  open(servers: string): Promise<Instance>;
}

/** The recipe, one step after the other: create, look who is first, delete. For locks that are free. */
const FLOOR: ZooKeeperContender = {
  name: 'floor',
  label: 'floor: the recipe by hand (node-zookeeper-client)',
  async open(servers) {
    const { createZooKeeperClient, EPHEMERAL_SEQUENTIAL } = await libraries();
    const client = createZooKeeperClient(servers, { sessionTimeout: TTL_MS });
    client.connect();
    await once(client as never, 'connected');
    const mkdirp = promisify(client.mkdirp.bind(client));
    const create = promisify(client.create.bind(client));
    const getChildren = promisify(client.getChildren.bind(client));
    const remove = promisify(client.remove.bind(client));
    const made = new Set<string>();
    return {
      async acquire(name) {
        const folder = `/by-hand/${name}`;
        if (!made.has(folder)) await mkdirp(folder);
        made.add(folder);
        const path = await create(`${folder}/lock-`, null, null, EPHEMERAL_SEQUENTIAL);
        const [first] = (await getChildren(folder)).sort();
        if (!path.endsWith(first!)) throw new Error(`${name} is locked`);
        return () => remove(path, -1);
      },
      close: () => client.close(),
    };
  },
};

const OURS: ZooKeeperContender = {
  name: 'ours',
  label: 'nestjs-idempotent',
  async open(connect) {
    const driver = zookeeperLock({ connect });
    const locks = new LockService(driver);
    return {
      async acquire(name) {
        const result = await locks.acquire(name, { ttlMs: TTL_MS, waitMs: PATIENCE_MS });
        if (result.status !== 'acquired') throw new Error(`${name}: ${result.status}`);
        return () => result.lease.release();
      },
      close: () => void driver.close(),
    };
  },
};

export const ZOOKEEPERS: readonly ZooKeeperContender[] = [FLOOR, OURS];
