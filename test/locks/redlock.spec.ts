import type { Redis } from 'ioredis';
import { redlock } from '../../lib/locks/redis/index.js';
import { describeLockDriver } from '../support/lock-suite.js';
import { redisClient } from '../support/redis-client.js';
import { type RedisServer, startRedis } from '../support/servers.js';

describe.each([5, 3])('%d servers', (size) => {
  describeLockDriver(`redlock of ${size} servers`, async () => {
    const servers = await Promise.all(Array.from({ length: size }, () => startRedis()));
    const clients = [1, 2].map(() => servers.map(({ url }) => redisClient(url)));
    const [driver, second] = clients.map((each) => redlock({ clients: each, nodeTimeoutMs: 1_000, delayedRestart: false }));
    return {
      driver: driver!,
      second: second!,
      cleanup: async () => {
        clients.flat().forEach((client) => client.disconnect());
        await Promise.all(servers.map((server) => server.stop()));
      },
    };
  });
});
