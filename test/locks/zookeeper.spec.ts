import { zookeeperLock } from '../../lib/locks/zookeeper/index.js';
import { describeLockDriver } from '../support/lock-suite.js';
import { startZooKeeper } from '../../sample-app/servers/zookeeper.js';

describeLockDriver(
  'zookeeper',
  async () => {
    const server = await startZooKeeper();
    const [driver, second] = [1, 2].map(() =>
      zookeeperLock({ connect: server.url, sessionTimeoutMs: 10_000 }),
    );
    return {
      driver: driver!,
      second: second!,
      cleanup: async () => {
        await Promise.all([driver!.close(), second!.close()]);
        await server.stop();
      },
    };
  },
  { queues: true },
);
