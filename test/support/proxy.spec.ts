import type { Redis } from 'ioredis';
import mysql from 'mysql2/promise';
import pg from 'pg';
import { eventually } from './eventually.js';
import { type FaultProxy, startProxy } from './proxy.js';
import { redisClient } from './redis-client.js';
import { sharedMariaDb, sharedPostgres, sharedRedisUrl } from './shared-servers.js';

let direct: Redis;
let url: string;
let targetPort: number;

beforeAll(() => {
  url = sharedRedisUrl();
  targetPort = Number(new URL(url).port);
  direct = redisClient(url);
});
beforeEach(() => direct.flushdb());

async function through(proxy: FaultProxy): Promise<Redis> {
  const client = redisClient(proxy.url(url));
  await client.ping();
  return client;
}

function silence(ms: number): Promise<string> {
  return new Promise((resolve) => setTimeout(resolve, ms, 'silence'));
}

it('cut-reply lets the server do the work and loses only the answer, once', async () => {
  await using proxy = await startProxy(targetPort);
  const client = await through(proxy);
  proxy.cutReply({ matching: 'incr' });
  await client.set('other', '1');
  await expect(client.incr('count')).rejects.toThrow();
  expect(await direct.get('count')).toBe('1');
  expect(proxy.cuts).toBe(1);
  expect(proxy.mode.kind).toBe('pass');
  expect(await client.incr('count')).toBe(2);
});

it('cut-request keeps the request from the server', async () => {
  await using proxy = await startProxy(targetPort);
  const client = await through(proxy);
  proxy.cutRequest({ matching: (chunk) => chunk.includes('incr') });
  await expect(client.incr('count')).rejects.toThrow();
  expect(await direct.get('count')).toBeNull();
});

it('hold-request resets the connection, and the request arrives late', async () => {
  await using proxy = await startProxy(targetPort);
  const client = await through(proxy);
  proxy.holdRequest({ matching: 'incr' });
  await expect(client.incr('count')).rejects.toThrow();
  expect(await direct.get('count')).toBeNull();
  proxy.deliver();
  await eventually(async () => (await direct.get('count')) === '1', 'the late request');
});

it('cuts again and again without once', async () => {
  await using proxy = await startProxy(targetPort);
  const client = await through(proxy);
  proxy.cutReply({ matching: 'incr', once: false });
  await expect(client.incr('count')).rejects.toThrow();
  await expect(client.incr('count')).rejects.toThrow();
  expect(await direct.get('count')).toBe('2');
});

it('drop answers nothing and closes nothing; what was sent arrives when it heals', async () => {
  await using proxy = await startProxy(targetPort);
  const client = await through(proxy);
  let closed = false;
  client.on('close', () => (closed = true));
  proxy.drop();
  const answer = client.incr('count');
  expect(await Promise.race([answer, silence(200)])).toBe('silence');
  expect(await direct.get('count')).toBeNull();
  expect(closed).toBe(false);
  proxy.pass();
  expect(await answer).toBe(1);
});

it('delay makes a round trip take twice as long and keeps the order', async () => {
  await using proxy = await startProxy(targetPort);
  const client = await through(proxy);
  proxy.delay(50);
  const begin = performance.now();
  const first = client.incr('count');
  proxy.pass();
  const second = client.incr('count');
  expect(await Promise.all([first, second])).toEqual([1, 2]);
  proxy.delay(50);
  await client.ping();
  expect(performance.now() - begin).toBeGreaterThanOrEqual(95);
});

it('cuts the reply of a PostgreSQL commit after it has happened', async () => {
  const database = await sharedPostgres().createDatabase();
  await using proxy = await startProxy(Number(new URL(database).port));
  const client = new pg.Client({ connectionString: proxy.url(database) });
  client.on('error', () => undefined);
  await client.connect();
  await client.query('CREATE TABLE t (id int)');
  proxy.cutReply({ matching: 'COMMIT' });
  await client.query('BEGIN');
  await client.query('INSERT INTO t VALUES (1)');
  await expect(client.query('COMMIT')).rejects.toThrow();
  const check = new pg.Client({ connectionString: database });
  await check.connect();
  expect((await check.query('SELECT id FROM t')).rows).toEqual([{ id: 1 }]);
  await check.end();
});

it('cuts the reply of a MariaDB commit after it has happened', async () => {
  const database = await sharedMariaDb().createDatabase();
  await using proxy = await startProxy(Number(new URL(database).port));
  const client = await mysql.createConnection(proxy.url(database));
  client.on('error', () => undefined);
  await client.query('CREATE TABLE t (id int)');
  proxy.cutReply({ matching: 'COMMIT' });
  await client.query('BEGIN');
  await client.query('INSERT INTO t VALUES (1)');
  await expect(client.query('COMMIT')).rejects.toThrow();
  const check = await mysql.createConnection(database);
  expect((await check.query('SELECT id FROM t'))[0]).toEqual([{ id: 1 }]);
  await check.end();
});

it('is a dead server to its clients once closed', async () => {
  const proxy = await startProxy(targetPort);
  const client = await through(proxy);
  await proxy.close();
  await expect(client.ping()).rejects.toThrow();
});
