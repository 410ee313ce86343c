import { Redis, type RedisOptions } from 'ioredis';
import { type Stoppable, started, stopped } from '../../sample-app/servers/cleanup.js';

/** A client that reconnects fast, fails fast, and is disconnected at the end of the spec file. */
export function redisClient(url: string, options: RedisOptions = {}): Redis {
  const client = new Redis(url, {
    retryStrategy: () => 20,
    maxRetriesPerRequest: 0,
    // ioredis holds the process open this long when it is disconnected while reconnecting.
    disconnectTimeout: 20,
    ...options,
  });
  // A lost server is told by the commands that fail.
  client.on('error', () => undefined);
  const handle: Stoppable = started({ stop: async () => client.disconnect() });
  client.once('end', () => stopped(handle));
  return client;
}
