import type { ZooKeeperServer } from '../../sample-app/servers/zookeeper.js';
import { systemClock } from '../../lib/engine/clock.js';
import { Connection } from '../../lib/zookeeper/connection.js';
import { closeSession, ConnectionLostError } from '../../lib/zookeeper/protocol.js';

/** Ends somebody else's session, as another process that took it over would. */
export async function killSession({ port }: ZooKeeperServer, id: bigint): Promise<void> {
  const ticket = { id, password: passwordOf(id), timeoutMs: 1_000, lastZxid: 0n };
  const deaf = { proven: () => undefined, told: () => undefined, closed: () => undefined };
  const server = { host: '127.0.0.1', port };
  for (let attempt = 1; attempt <= 50; attempt++) {
    try {
      const connection = await Connection.open(server, ticket, 2_000, deaf, systemClock);
      const isOver = connection.ticket.id !== id;
      if (!isOver) await connection.request(closeSession());
      connection.destroy('done');
      if (isOver && attempt === 1) throw new Error('there is no such session');
      if (isOver) return;
    } catch (error) {
      // Its owner took it back before this arrived, or the server closed the connection before it answered.
      if (!(error instanceof ConnectionLostError)) throw error;
    }
  }
  throw new Error('the session could not be ended');
}

/** As servers make it: of `java.util.Random`, from the number of the session. */
function passwordOf(session: bigint): Buffer {
  const mask = (1n << 48n) - 1n;
  let seed = (BigInt.asUintN(64, session ^ 0xb3415c00n) ^ 0x5deece66dn) & mask;
  const password = Buffer.alloc(16);
  for (let at = 0; at < 16; at += 4) {
    seed = (seed * 0x5deece66dn + 0xbn) & mask;
    password.writeInt32LE(Number(BigInt.asIntN(32, seed >> 16n)), at);
  }
  return password;
}
