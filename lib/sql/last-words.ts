/** What is used of `pg.Pool`. */
interface Pool {
  on(event: 'acquire', listener: (client: Client) => void): unknown;
}

interface Client {
  on(event: 'error', listener: () => void): unknown;
}

const pools = new WeakSet<Pool>();
const clients = new WeakSet<Client>();

/**
 * Keeps the process alive when connections in use come to their end.
 *
 * A client says so by an `error` event, which ends the process if nobody listens. The pool stops listening when it lends a
 * client out, and whoever waits for the promise of one listens some turns later. In between the server's last words may come,
 * in the same piece of data as the answer the last query waited for: under load, a server that goes down takes processes along.
 * Nothing is hidden by listening: every query on such a client rejects, and the pool does not keep it.
 */
export function surviveLastWords(pool: Pool): void {
  if (pools.has(pool)) return;
  pools.add(pool);
  // Emitted before the pool stops listening.
  pool.on('acquire', (client) => {
    if (clients.has(client)) return;
    clients.add(client);
    client.on('error', () => undefined);
  });
}
