import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * A loopback port nobody listens on. Below the range the kernel takes the ports of outgoing connections
 * from: otherwise a client that reconnects to a stopped server may take, or even reach, its own port.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(10_000, 32_000);
    const probe = createServer();
    try {
      probe.listen(port, '127.0.0.1');
      await once(probe, 'listening');
      return port;
    } catch {
      // taken: try another
    } finally {
      probe.close();
    }
  }
}
