import { quorumLock } from '../../lib/locks/quorum/quorum.lock.js';
import { memoryLock } from '../../lib/locks/memory.lock.js';
import { redisLock } from '../../lib/locks/redis/index.js';
import { describeLockDriver } from '../support/lock-suite.js';
import { redisClient } from '../support/redis-client.js';
import { sharedRedisUrl } from '../support/servers.js';

describe.each([1, 2, 3, 4, 5])('%d locks in memory', (size) => {
  describeLockDriver(`quorum of ${size} locks in memory`, async () => {
    const drivers = Array.from({ length: size }, () => memoryLock());
    const [driver, second] = [quorumLock(drivers), quorumLock(drivers)];
    return { driver, second, cleanup: async () => undefined };
  });
});
