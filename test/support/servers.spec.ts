import { existsSync } from 'node:fs';
import mysql from 'mysql2/promise';
import pg from 'pg';
import { redisClient } from './redis-client.js';
import { startMariaDb, startPostgres, startRedis } from '../../sample-app/servers/servers.js';
import { sharedMariaDb, sharedPostgres, sharedRedisUrl } from './shared-servers.js';

async function postgres(url: string, text: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

async function mariaDb(url: string, text: string): Promise<unknown> {
  const connection = await mysql.createConnection(url);
  try {
    return (await connection.query(text))[0];
  } finally {
    await connection.end();
  }
}

describe('the shared servers', () => {
  it('serve every worker', async () => {
    const client = redisClient(sharedRedisUrl());
    expect(await client.ping()).toBe('PONG');
    expect(await postgres(await sharedPostgres().createDatabase(), 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    expect(await mariaDb(await sharedMariaDb().createDatabase(), 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  it('drop a database of the same name first', async () => {
    const server = sharedPostgres();
    await postgres(await server.createDatabase('twice'), 'CREATE TABLE t (id int)');
    expect(await postgres(await server.createDatabase('twice'), `SELECT to_regclass('t') AS t`)).toEqual([
      { t: null },
    ]);
  });
});

describe('redis', () => {
  it('is empty after a kill and a restart on the same port', async () => {
    await using server = await startRedis();
    const { pid, port } = server;
    const client = redisClient(server.url, { maxRetriesPerRequest: null });
    await client.set('key', 'value');
    await server.kill();
    expect(() => process.kill(pid, 0)).toThrow('ESRCH');
    await server.restart();
    expect(server.port).toBe(port);
    expect(await client.get('key')).toBeNull();
  });

  it('keeps its data when its arguments say so', async () => {
    await using server = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] });
    const client = redisClient(server.url, { maxRetriesPerRequest: null });
    await client.set('key', 'value');
    await server.kill();
    await server.restart();
    expect(await client.get('key')).toBe('value');
  });

  it('keeps connections but answers nothing while paused', async () => {
    await using server = await startRedis();
    const client = redisClient(server.url, { maxRetriesPerRequest: null });
    await client.ping();
    await server.pause();
    const answer = client.ping();
    const first = await Promise.race([answer, new Promise((done) => setTimeout(done, 200, 'silence'))]);
    expect(first).toBe('silence');
    await server.resume();
    expect(await answer).toBe('PONG');
  });

  it('tells why it does not start', async () => {
    await expect(startRedis({ args: ['--no-such-option', '1'] })).rejects.toThrow('no-such-option');
  });
});

describe.each([
  { name: 'postgres', start: startPostgres, query: postgres },
  { name: 'mariadb', start: startMariaDb, query: mariaDb },
])('$name', ({ start, query }) => {
  it('survives a kill with what it acknowledged, freezes, restarts, and leaves nothing', async () => {
    const server = await start();
    const url = await server.createDatabase('kept');
    await query(url, 'CREATE TABLE t (id int)');
    await query(url, 'INSERT INTO t VALUES (7)');
    await server.kill();
    await expect(query(url, 'SELECT id FROM t')).rejects.toThrow();
    await server.restart();
    expect(await query(url, 'SELECT id FROM t')).toEqual([{ id: 7 }]);

    await server.pause();
    const answer = query(url, 'SELECT id FROM t');
    const first = await Promise.race([answer, new Promise((done) => setTimeout(done, 200, 'silence'))]);
    expect(first).toBe('silence');
    await server.resume();
    expect(await answer).toEqual([{ id: 7 }]);

    const { pid } = server;
    await server.restart();
    expect(server.pid).not.toBe(pid);
    expect(await query(url, 'SELECT id FROM t')).toEqual([{ id: 7 }]);
    await server.pause();
    await server.stop();
    expect(existsSync(`/proc/${server.pid}`)).toBe(false);
  });
});
