import { type LockDriver } from '../../lib/locks/lock-driver.js';
import { memoryLock } from '../../lib/locks/memory.lock.js';
import { type QuorumLock, quorumLock } from '../../lib/locks/quorum/quorum.lock.js';
import { redisLock } from '../../lib/locks/redis/index.js';
import { describeLockDriver } from '../support/lock-suite.js';
import { redisClient } from '../support/redis-client.js';
import { sharedRedisUrl } from '../support/shared-servers.js';
import { persistent } from './quorum-helpers.js';

describe.each([1, 2, 5])('a quorum', (size) => {
  describeLockDriver(`quorum of ${size} locks in memory`, async () => {
    const drivers = Array.from({ length: size }, () => memoryLock());
    const [driver, second] = [quorumLock(drivers), quorumLock(drivers)];
    return { driver: persistent(driver), second: persistent(second), cleanup: async () => undefined };
  });
});

describe('mixed kinds', () => {
  describeLockDriver('quorum of two locks in Redis and one in memory', async () => {
    const memory = memoryLock();
    const clients = [1, 2, 3, 4].map(() => redisClient(sharedRedisUrl()));
    const [driver, second] = [0, 2].map((first) =>
      quorumLock(
        [
          redisLock({ client: clients[first]!, keyPrefix: 'one:' }),
          memory,
          redisLock({ client: clients[first + 1]!, keyPrefix: 'two:' }),
        ],
        { nodeTimeoutMs: 1_000 },
      ),
    ) as [QuorumLock, QuorumLock];
    return {
      driver: persistent(driver),
      second: persistent(second),
      cleanup: async () => clients.forEach((client) => client.disconnect()),
    };
  });
});

describe('the drivers of a quorum', () => {
  const quorumOf = (drivers: unknown, options?: unknown) => () =>
    quorumLock(drivers as never, options as never);

  it('G83 are checked at once, in words that name the fix', () => {
    const one = memoryLock();
    expect(quorumOf([])).toThrow(
      'quorumLock(drivers): there is no driver; give a list of them, e.g. three redisLock({ client })',
    );
    expect(quorumOf(one)).toThrow('there is no driver');
    expect(quorumOf([one, 'redis'])).toThrow('drivers[1] is no lock driver; give what e.g. redisLock(');
    expect(quorumOf([memoryLock(), one, one])).toThrow(
      'drivers[2] is drivers[1] once more; each node has one vote',
    );
    expect(quorumOf([one], { nodeTimeoutMs: 0 })).toThrow(
      'quorumLock({ nodeTimeoutMs }): nodeTimeoutMs is 0; it must be an integer of at least 1 (milliseconds)',
    );
  });

  it('have to be able to raise a fence, and to have no line of their own', () => {
    const plain: LockDriver = Object.assign(memoryLock(), { raiseFence: undefined });
    expect(quorumOf([memoryLock(), plain, memoryLock()])).toThrow(
      'drivers[1] (memory) has no raiseFence(), without which the fences of a quorum would not grow',
    );
    expect(quorumOf([plain])).not.toThrow();
    const line: LockDriver = Object.assign(memoryLock(), { queues: true });
    expect(quorumOf([line])).toThrow(
      'drivers[0] (memory) keeps a line of its own and cannot be one of several',
    );
  });
});
