import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { redisLock } from '../../lib/locks/redis/index.js';
import { sharedRedisUrl } from '../support/shared-servers.js';

describe('what leaves for Redis', () => {
  let client: Redis;
  let writes = 0;

  beforeEach(async () => {
    client = new Redis(sharedRedisUrl());
    await client.ping();
    const [name, token] = [randomUUID(), randomUUID()];
    // The server learns both scripts.
    await redisLock({ client }).acquire(name, token, 1_000);
    await redisLock({ client }).release(name, token);
    for (const method of ['_write', '_writev'] as const) {
      const stream = client.stream as unknown as Record<typeof method, (...args: unknown[]) => void>;
      const write = stream[method].bind(stream);
      stream[method] = (...args) => {
        writes++;
        write(...args);
      };
    }
    writes = 0;
  });
  afterEach(() => client.disconnect());

  it('in one turn of the event loop leaves in one write, whatever lock it is of', async () => {
    const lock = redisLock({ client });
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => lock.acquire(randomUUID(), randomUUID(), 5_000)),
    );
    expect(answers.every(({ acquired }) => acquired)).toBe(true);
    expect(writes).toBe(1);
  });

  it('leaves in its order, and need not wait for company', async () => {
    const lock = redisLock({ client });
    const [name, token] = [randomUUID(), randomUUID()];
    const acquired = lock.acquire(name, token, 5_000);
    const released = lock.release(name, token);
    expect(await acquired).toMatchObject({ acquired: true });
    expect(await released).toBe(true);
    expect(await lock.acquire(name, token, 5_000)).toMatchObject({ acquired: true });
    expect(writes).toBe(2);
  });

  it('takes what the application sends along', async () => {
    const lock = redisLock({ client });
    const acquired = lock.acquire(randomUUID(), randomUUID(), 5_000);
    expect(await client.ping()).toBe('PONG');
    expect(await acquired).toMatchObject({ acquired: true });
    expect(writes).toBe(1);
  });
});
