import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { idempotencyMigrations, typeOrmStore } from 'nestjs-idempotent/stores/typeorm';
import { DataSource } from 'typeorm';
import { started } from '../../sample-app/servers/cleanup.js';
import { sharedPostgres } from '../support/shared-servers.js';
import { newRequest } from '../support/store-suite.js';

/** What PostgreSQL sends before it closes a connection that is not in use. */
const FAREWELL = farewell({ S: 'FATAL', V: 'FATAL', C: '57P01', M: 'terminating connection' });
/** The end of an answer, outside of a transaction. */
const READY = Buffer.from('Z\0\0\0\x05I', 'latin1');

/** Stands before PostgreSQL. Once `isOver` is set, an answer is followed by the farewell, in one piece of data. */
async function relay(port: number): Promise<{ port: number; isOver: boolean; close: () => void }> {
  const server = createServer((client) => {
    const behind = connect(port, '127.0.0.1');
    client.pipe(behind);
    client.on('error', () => behind.destroy());
    behind.on('data', (chunk: Buffer) => {
      if (!state.isOver || !chunk.subarray(-READY.length).equals(READY)) return client.write(chunk);
      behind.destroy();
      return client.end(Buffer.concat([chunk, FAREWELL]));
    });
    behind.on('end', () => client.end());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const state = { port: (server.address() as AddressInfo).port, isOver: false, close: () => server.close() };
  return state;
}

it('a server that says goodbye right after an answer takes no process along, and who waited is told', async () => {
  const url = new URL(await sharedPostgres().createDatabase());
  const front = await relay(Number(url.port));
  url.port = String(front.port);
  const dataSource = await new DataSource({
    ...{ type: 'postgres', url: url.href, extra: { max: 1 } },
    ...{ migrations: idempotencyMigrations, migrationsRun: true },
  }).initialize();
  started({ stop: () => dataSource.destroy().finally(front.close) });
  const store = typeOrmStore({ dataSource });
  const claim = () => store.claim(newRequest());
  expect(await claim()).toMatchObject({ claimed: true });

  front.isOver = true;
  const query = () => dataSource.query('SELECT 1');
  // With its first answer the connection goes to the next of them, and the farewell comes.
  const ends = await Promise.allSettled([query(), query(), claim()]);
  front.isOver = false;
  expect(ends.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected']);
  expect(await claim()).toMatchObject({ claimed: true });
});

function farewell(fields: Record<string, string>): Buffer {
  const text = Object.entries(fields).map(([type, value]) => `${type}${value}\0`);
  const body = Buffer.from(`${text.join('')}\0`);
  const head = Buffer.from('E\0\0\0\0');
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}
