import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { readEnvironment } from '../../sample-app/config/environment.reader.js';
import { launch, PATIENCE_MS, sqliteUrl } from './sample-app.js';

/** Every variable with the values the app refuses, and what it says. */
const REFUSED: Record<string, [value: string, message: string][]> = {
  PORT: [
    ['abc', 'PORT is "abc"; it must be a whole number from 0 to 65535'],
    ['65536', 'PORT is 65536; it must be a whole number from 0 to 65535'],
    ['-1', 'PORT is "-1"; it must be'],
  ],
  HTTP: [['koa', 'HTTP is "koa"; it must be express or fastify']],
  LOCK: [
    ['mutex', 'LOCK is "mutex"; it must be none, memory, redis or zookeeper'],
    ...['redlock', 'sql', 'sql-quorum'].map((lock): [string, string] => [
      lock,
      `LOCK is "${lock}"; that is not available in this version; it must be none, memory, redis or zookeeper`,
    ]),
  ],
  STORE: [['SQL', 'STORE is "SQL"; it must be sql, redis, memory or sharded']],
  DATABASE_URL: [
    ['oracle://db/shop', 'DATABASE_URL is "oracle://db/shop"; it must be postgres://'],
    ['postgres://db', 'DATABASE_URL is "postgres://db"; it must be postgres://'],
    ['sqlite:', 'DATABASE_URL is "sqlite:"; it must be'],
    ['mysql://a/x,mysql://b/x', 'quorums of several databases are not available in this version'],
  ],
  REDIS_URL: [
    ['localhost:6379', 'REDIS_URL is "localhost:6379"; it must be redis://HOST:PORT'],
    ['redis://a,redis://b', 'locks over several Redis servers are not available in this version'],
  ],
  ZOOKEEPER_URL: [
    ['zk:x', 'ZOOKEEPER_URL is "zk:x"; it must be HOST:PORT or HOST:PORT,HOST:PORT,HOST:PORT'],
    ['zk://a:2181', 'ZOOKEEPER_URL is "zk://a:2181"; it must be HOST:PORT'],
    ['a:2181,', 'ZOOKEEPER_URL is "a:2181,"; it must be HOST:PORT'],
  ],
  AMQP_URL: [
    ['http://mq', 'AMQP_URL is "http://mq"; it must be amqp://USER:PASSWORD@HOST:PORT'],
    ['amqp://a,amqp://b', 'several message brokers are not available in this version'],
  ],
  ROLE: [
    ['refund', 'AMQP_URL is missing; it must be amqp://USER:PASSWORD@HOST:PORT, because ROLE is refund'],
    ['none', 'ROLE is "none"; it must be all, refund or payment'],
  ],
  BANK: [['paper', 'BANK is "paper"; it must be ledger or external']],
  BANK_URL: [
    ['localhost:3001', 'BANK_URL is "localhost:3001"; it must be http://HOST:PORT'],
    ['http://a,http://b', 'several banks are not available in this version; it must be http://HOST:PORT'],
  ],
  BANK_LATENCY_MS: [
    ['fast', 'BANK_LATENCY_MS is "fast"; it must be a whole number from 0 to 600000 (milliseconds)'],
  ],
  LEASE_MS: [['49', 'LEASE_MS is 49; it must be a whole number from 50 to 600000 (milliseconds)']],
  RETENTION_MS: [['0', 'RETENTION_MS is 0; it must be a whole number from 1 to']],
  WEBHOOK_SECRET: [['short', 'WEBHOOK_SECRET is not what it should be; it must be at least 16 characters']],
  ON_CONFLICT: [['retry', 'ON_CONFLICT is "retry"; it must be reject or wait']],
};

describe.each(Object.entries(REFUSED))('%s', (name, values) => {
  it.each(values)('%s is refused', (value, message) => {
    expect(() => readEnvironment({ [name]: value })).toThrow(message);
  });
});

it('starts with nothing given', () => {
  const environment = readEnvironment({ PORT: ' ', REDIS_URL: '' });
  expect(environment).toMatchObject({
    PORT: 3000,
    HTTP: 'express',
    LOCK: 'memory',
    STORE: 'sql',
    BANK_LATENCY_MS: 50,
  });
  expect(environment.DATABASE_URL).toMatch(/^sqlite:\//);
});

it.each(['LOCK', 'STORE'])('%s=redis needs REDIS_URL', (name) => {
  expect(() => readEnvironment({ [name]: 'redis' })).toThrow(
    `REDIS_URL is missing; it must be redis://HOST:PORT, because ${name} is redis`,
  );
});

it.each(['', 'mysql://a/x', 'mysql://a/x,mysql://a/x', 'mysql://a/x,b', 'mysql://a/x,'])(
  'STORE=sharded needs several databases, not "%s"',
  (DATABASE_URL) => {
    expect(() => readEnvironment({ STORE: 'sharded', DATABASE_URL })).toThrow(
      /DATABASE_URL is .*; it must be at least two different ones, with commas between, each postgres:.*, because STORE is sharded/,
    );
  },
);

it('LOCK=zookeeper needs ZOOKEEPER_URL', () => {
  expect(() => readEnvironment({ LOCK: 'zookeeper' })).toThrow(
    'ZOOKEEPER_URL is missing; it must be HOST:PORT or HOST:PORT,HOST:PORT,HOST:PORT, because LOCK is zookeeper',
  );
  const environment = { LOCK: 'zookeeper', ZOOKEEPER_URL: 'zk1:2181,zk2,10.0.0.3:2181/app' };
  expect(readEnvironment(environment)).toMatchObject(environment);
});

it('names everything that is wrong, each in a line, and no password', () => {
  const read = () => readEnvironment({ PORT: 'x', LOCK: 'y', DATABASE_URL: 'pg://me:secret@db/shop' });
  expect(read).toThrow(
    /\n {2}PORT is "x".*\n {2}LOCK is "y".*\n {2}DATABASE_URL is "pg:\/\/me:\*\*\*@db\/shop"/,
  );
  expect(read).not.toThrow('secret');
});

it(
  'a wrong variable ends the start with code 1 and says what it should be',
  async () => {
    await using process = launch({ LOCK: 'sql' });
    const { code, stderr } = await process.exited;
    expect(code).toBe(1);
    expect(stderr).toContain(
      'LOCK is "sql"; that is not available in this version; it must be none, memory, redis or zookeeper',
    );
  },
  PATIENCE_MS,
);

it(
  'a port in use and a database that does not answer end it, too',
  async () => {
    const other = createServer().listen(0, '0.0.0.0');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    await using first = launch({ PORT: String(port), DATABASE_URL: sqliteUrl() });
    await using second = launch({ DATABASE_URL: 'postgres://me:secret@127.0.0.1:1/shop' });
    const [inUse, noAnswer] = await Promise.all([first.exited, second.exited]);
    other.close();
    expect(inUse).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`PORT is ${port}; it must be one nobody uses`),
    });
    expect(noAnswer).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('DATABASE_URL is "postgres://me:***@'),
    });
    expect(noAnswer.stderr).not.toContain('secret');
  },
  PATIENCE_MS,
);
