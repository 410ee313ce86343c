import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Redis, RedisOptions } from 'ioredis';
import { eventually } from './eventually.js';
import { redisClient } from './redis-client.js';
import { binary } from '../../sample-app/servers/server-binaries.js';
import { type Server, ServerProcess } from '../../sample-app/servers/server-process.js';
import { pingRedis, type RedisServer, startRedis } from '../../sample-app/servers/servers.js';

/** A master, a replica, and three sentinels that make the replica the master when the master is gone. */
export interface Sentinels {
  readonly master: RedisServer;
  readonly replica: RedisServer;
  /** A client that asks the sentinels where the master is. */
  client(options?: RedisOptions): Redis;
  /** The port of the master, as the sentinels have it. */
  masterPort(): Promise<number>;
  /** Has the replica take over from a master that is well. */
  failover(): Promise<void>;
}

const NAME = 'shop';
/** Faster than they are, so that tests need not wait. What was not heard of for 3 to 5 of them is no replica to promote. */
const PERIODS = ['info-period', 'publish-period', 'ask-period', 'ping-period'].flatMap((name) => [
  name,
  '200',
]);

export async function startSentinels(): Promise<Sentinels> {
  const args = ['--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1'];
  const master = await startRedis({ args });
  const replica = await startRedis({ args: [...args, '--replicaof', '127.0.0.1', String(master.port)] });
  const sentinels = await Promise.all([1, 2, 3].map(() => startSentinel(master.port)));
  const admins = sentinels.map(({ url }) => redisClient(url));
  for (const admin of admins) await admin.call('SENTINEL', 'DEBUG', ...PERIODS);
  await Promise.all(admins.map(knowsAll));
  const [admin] = admins as [Redis, ...Redis[]];
  const masterPort = async () => {
    const [, port] = (await admin.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME)) as [string, string];
    return Number(port);
  };
  return {
    master,
    replica,
    client: (options) =>
      redisClient(master.url, {
        host: undefined,
        sentinels: sentinels.map(({ port }) => ({ host: '127.0.0.1', port })),
        name: NAME,
        sentinelRetryStrategy: () => 20,
        ...options,
      }),
    masterPort,
    failover: async () => {
      // Right after the start, or another one, they may find no suitable replica yet.
      const before = await masterPort();
      const begun = () =>
        admin.call('SENTINEL', 'FAILOVER', NAME).then(
          () => true,
          () => false,
        );
      await eventually(begun, 'a failover that begins');
      // Asked for once more it would lead back.
      await eventually(async () => (await masterPort()) !== before, 'a failover');
    },
  };
}

function startSentinel(masterPort: number): Promise<Server> {
  return ServerProcess.start({
    name: 'sentinel',
    command: binary('redis-server'),
    url: (port) => `redis://127.0.0.1:${port}`,
    restartSignal: 'SIGTERM',
    stopSignal: 'KILL',
    args: (port, folder) => [
      ...[join(folder, 'sentinel.conf'), '--sentinel', '--port', String(port)],
      ...['--bind', '127.0.0.1', '--daemonize', 'no'],
    ],
    prepare: async (folder) =>
      writeFileSync(
        join(folder, 'sentinel.conf'),
        `dir ${folder}
sentinel monitor ${NAME} 127.0.0.1 ${masterPort} 2
sentinel down-after-milliseconds ${NAME} 400
sentinel failover-timeout ${NAME} 1000
`,
      ),
    ping: pingRedis,
  });
}

/** Until a sentinel knows the other two and the replica there is no failover. */
async function knowsAll(sentinel: Redis): Promise<void> {
  await eventually(async () => {
    const fields = (await sentinel.call('SENTINEL', 'MASTER', NAME)) as string[];
    const of = (name: string) => fields[fields.indexOf(name) + 1];
    return of('num-slaves') === '1' && of('num-other-sentinels') === '2';
  }, 'sentinels that know each other');
}
