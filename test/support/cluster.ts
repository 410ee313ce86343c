import { Cluster, type ClusterOptions, type Redis } from 'ioredis';
import { started } from '../../sample-app/servers/cleanup.js';
import { eventually } from './eventually.js';
import { redisClient } from './redis-client.js';
import { type RedisServer, startRedis } from '../../sample-app/servers/servers.js';

/** Three masters, each with a third of the slots, and a replica of the first. */
export interface RedisCluster {
  readonly masters: readonly ClusterNode[];
  readonly replica: ClusterNode;
  client(options?: ClusterOptions): Cluster;
  /** The master that has the slot of a key. */
  ownerOf(key: string): Promise<ClusterNode>;
  /** Every node thinks so. */
  untilWell(nodes?: readonly ClusterNode[]): Promise<void>;
}

export interface ClusterNode {
  readonly server: RedisServer;
  readonly admin: Redis;
  readonly id: string;
}

const SLOTS = 16_384;

export async function startCluster(): Promise<RedisCluster> {
  const nodes = await Promise.all([1, 2, 3, 4].map(startNode));
  const masters = nodes.slice(0, 3);
  const [first, , , replica] = nodes as [ClusterNode, ClusterNode, ClusterNode, ClusterNode];
  const begins = [0, 1, 2, 3].map((part) => Math.ceil((part * SLOTS) / 3));
  for (const [i, { admin }] of masters.entries()) {
    await admin.call('CLUSTER', 'ADDSLOTSRANGE', begins[i]!, begins[i + 1]! - 1);
    // Otherwise two nodes that begin in the same epoch first have to settle whose is the greater.
    await admin.call('CLUSTER', 'SET-CONFIG-EPOCH', i + 1);
  }
  for (const { server } of nodes.slice(1))
    await first.admin.call('CLUSTER', 'MEET', '127.0.0.1', server.port);
  await untilWell(nodes, nodes.length);
  await replica.admin.call('CLUSTER', 'REPLICATE', first.id);
  await eventually(
    async () => (await replica.admin.info('replication')).includes('master_link_status:up'),
    'a replica in step',
  );
  await eventually(
    async () => String(await first.admin.call('CLUSTER', 'NODES')).includes('slave'),
    'a replica that is known',
  );
  return {
    masters,
    replica,
    client: (options) => {
      const startNodes = masters.map(({ server }) => ({ host: '127.0.0.1', port: server.port }));
      const cluster = new Cluster(startNodes, {
        clusterRetryStrategy: () => 50,
        // ioredis holds the process open this long for a node that is dead.
        redisOptions: { disconnectTimeout: 20 },
        ...options,
      });
      cluster.on('error', () => undefined);
      started({ stop: async () => cluster.disconnect() });
      return cluster;
    },
    ownerOf: async (key) => {
      const slot = Number(await first.admin.call('CLUSTER', 'KEYSLOT', key));
      return masters[begins.findLastIndex((begin) => begin <= slot)]!;
    },
    untilWell: (some = nodes) => untilWell(some, nodes.length),
  };
}

async function startNode(): Promise<ClusterNode> {
  const server = await startRedis({
    args: [
      ...['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1', '--cluster-node-timeout', '600'],
      ...['--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1'],
    ],
  });
  const admin = redisClient(server.url);
  return { server, admin, id: String(await admin.call('CLUSTER', 'MYID')) };
}

async function untilWell(nodes: readonly ClusterNode[], known: number): Promise<void> {
  for (const { admin } of nodes) {
    await eventually(async () => {
      const info = String(await admin.call('CLUSTER', 'INFO'));
      return info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${known}`);
    }, 'a cluster that is well');
  }
}
