import type { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import libsql from 'libsql';
import type { DataSource, DataSourceOptions } from 'typeorm';
import {
  idempotencyEntities,
  idempotencyMigrations,
  type TypeOrmStore,
  typeOrmStore,
} from '../../lib/stores/typeorm/index.js';
import { atEnd, inLane, it, lane } from '../support/lanes.js';
import { startProcess } from '../support/processes.js';
import { startProxy } from '../support/proxy.js';
import { found, hash, newRequest, retryOf } from '../support/store-suite.js';
import {
  ADVERSE,
  DATABASES,
  type Flavour,
  MARIADB,
  MYSQL,
  mysqlSaying,
  open,
  openMigrated,
  POSTGRES,
  SQLITE,
  storeOf,
} from './typeorm-flavours.js';

const RESPONSE = { status: 201, headers: {}, body: Buffer.from('done') };
const LONG = 60_000;

function kept(dataSource: DataSource): DataSource {
  atEnd(() => dataSource.isInitialized && dataSource.destroy());
  return dataSource;
}

async function migrated(
  flavour: Flavour,
  changes: object = {},
): Promise<{ options: DataSourceOptions; dataSource: DataSource; store: TypeOrmStore }> {
  const options = await flavour.create();
  const dataSource = kept(await openMigrated(options, changes));
  return { options, dataSource, store: storeOf(flavour, dataSource) };
}

async function expectToWork(store: TypeOrmStore): Promise<void> {
  const request = newRequest({ key: '😀' });
  expect(await store.claim(request)).toMatchObject({ claimed: true, attempt: 1 });
  expect(await store.complete(request.id, request.token, RESPONSE, LONG)).toBe(true);
  expect(await found(store, request.id)).toMatchObject({ key: '😀', state: 'completed' });
  expect(await store.sweep(10)).toBe(0);
}

/** What `synchronize` would do now. */
async function pendingChanges(dataSource: DataSource): Promise<string[]> {
  const { upQueries } = await dataSource.driver.createSchemaBuilder().log();
  const queries = upQueries.map(({ query }) => query);
  // TypeORM's type "mysql" never recognises a nullable column of a MariaDB server.
  return dataSource.options.type === 'mysql' ? queries.filter((query) => !query.endsWith(' NULL')) : queries;
}

lane.each([...DATABASES, ...ADVERSE])('tables: $name', (flavour) => {
  it('migrations make what synchronize would make, and take it away', async () => {
    const options = await flavour.create();
    const entities = idempotencyEntities(options.type);
    const dataSource = kept(await open(options, { migrations: idempotencyMigrations, entities }));
    const store = storeOf(flavour, dataSource);
    await expect(store.claim(newRequest())).rejects.toThrow('idempotencyMigrations');

    await dataSource.runMigrations();
    await expectToWork(store);
    expect(await pendingChanges(dataSource)).toEqual([]);

    for (const _ of idempotencyMigrations) await dataSource.undoLastMigration();
    await expect(store.claim(newRequest())).rejects.toThrow('idempotencyMigrations');
    await dataSource.runMigrations();
    await expectToWork(store);
  });

  it('synchronize makes them too, and migrations do not mind', async () => {
    const options = await flavour.create();
    const changes = { migrations: idempotencyMigrations, entities: idempotencyEntities(options.type) };
    const dataSource = kept(await open(options, { ...changes, synchronize: true }));
    await expectToWork(storeOf(flavour, dataSource));
    expect(await pendingChanges(dataSource)).toEqual([]);
    await dataSource.runMigrations();
    await expectToWork(storeOf(flavour, dataSource));
  });
});

lane('errors', () => {
  it.each(DATABASES)('a missing table names the fix and keeps the cause: $name', async (flavour) => {
    const dataSource = kept(await open(await flavour.create()));
    const store = storeOf(flavour, dataSource);
    const { id, token } = newRequest();
    for (const call of [
      () => store.claim(newRequest()),
      () => store.find(id),
      () => store.complete(id, token, RESPONSE, LONG),
      () => store.renew([{ id, token }], LONG),
      () => store.release(id, token, 'keep', LONG),
      () => store.markUncertain(id, token),
      () => store.reserve(id, token, LONG),
      () => store.list({ limit: 1 }),
      () => store.sweep(10),
    ]) {
      await expect(call()).rejects.toMatchObject({
        message: expect.stringMatching(/failed: .*idempotencyMigrations.*idempotencyEntities/),
        cause: expect.objectContaining({ message: expect.stringContaining('idempotency_record') }),
      });
    }
  });

  it('a DataSource that is not initialized, or no more, says so', async () => {
    const { dataSource, store } = await migrated(SQLITE);
    await dataSource.destroy();
    await expect(store.claim(newRequest())).rejects.toThrow(/claim before .*dataSource\.initialize\(\)/);
    await dataSource.initialize();
    await expectToWork(store);
  });

  it('an unsupported DataSource is refused at once with what is supported', () => {
    for (const type of ['sqlite', 'sqljs', 'oracle', 'cockroachdb']) {
      const dataSource = { options: { type } } as DataSource;
      expect(() => typeOrmStore({ dataSource })).toThrow(
        /postgres, mysql, mariadb, better-sqlite3.*"better-sqlite3"/,
      );
      expect(() => idempotencyEntities(type)).toThrow(`this one is "${type}"`);
    }
  });

  it('a pool without autocommit is refused: its claims would vanish', async () => {
    const { options } = await migrated(MARIADB);
    const driver = mysqlSaying('SET autocommit = 0');
    const dataSource = kept(await open(options, { driver }));
    // The pool's first connection was made by another way in TypeORM, so ask one that was not.
    await expect(typeOrmStore({ dataSource }).claim(newRequest())).rejects.toThrow('autocommit');
  });

  it.each([POSTGRES, MARIADB, MYSQL])(
    'a server that is gone is an error, and no more once it is back: $name',
    async (flavour) => {
      const { options } = await migrated(flavour);
      await using proxy = await startProxy(Number(new URL((options as { url: string }).url).port));
      const url = proxy.url((options as { url: string }).url);
      const dataSource = kept(await open(options, { url }));
      const store = storeOf(flavour, dataSource);
      await expectToWork(store);
      proxy.cutRequest({ once: false });
      await expect(store.claim(newRequest())).rejects.toHaveProperty(
        'cause.code',
        expect.stringMatching(/ECONN|PROTOCOL/),
      );
      await expect(store.find(newRequest().id)).rejects.toHaveProperty(
        'cause.code',
        expect.stringMatching(/ECONN|PROTOCOL/),
      );
      proxy.pass();
      await expectToWork(store);
    },
  );
});

it.each(DATABASES)(
  'G06 nothing of an expired answer is left in the row that took its place: $name',
  async (flavour) => {
    const { dataSource, store } = await migrated(flavour);
    const first = newRequest();
    await store.claim(first);
    await store.complete(first.id, first.token, { ...RESPONSE, headers: { etag: '"1"' } }, 1);
    await sleep(5);
    expect(await store.claim(retryOf(first))).toMatchObject({ claimed: true });
    expect(
      await dataSource.query('SELECT status, headers, body, completed_at FROM idempotency_record'),
    ).toEqual([{ status: null, headers: null, body: null, completed_at: null }]);
  },
);

it.each(DATABASES)('G14 fences grow although the clock was put back: $name', async (flavour) => {
  const { dataSource, store } = await migrated(flavour);
  const first = newRequest();
  await store.claim(first);
  await dataSource.query('UPDATE idempotency_record SET fence = fence + 3600000000');
  const { fence } = (await store.claim(first)) as { fence: bigint };
  await store.release(first.id, first.token, 'forget', LONG);
  // A row made anew would begin with the clock.
  expect(await store.sweep(10)).toBe(0);
  const second = retryOf(first, { fingerprint: hash('other') });
  expect(await store.claim(second)).toEqual({ claimed: true, attempt: 1, fence: fence + 1n });
  await store.release(second.id, second.token, 'keep', LONG);
  expect(await store.claim(retryOf(second))).toEqual({ claimed: true, attempt: 2, fence: fence + 2n });
});

lane.each([POSTGRES, MARIADB, MYSQL])('$name', (flavour) => {
  it('G03 a claim whose reply was lost is recognised when it is sent again', async () => {
    const { options, store: other } = await migrated(flavour);
    const { url } = options as { url: string };
    await using proxy = await startProxy(Number(new URL(url).port));
    const dataSource = kept(await open(options, { url: proxy.url(url) }));
    const store = storeOf(flavour, dataSource);
    await store.find(newRequest().id);

    const request = newRequest();
    proxy.cutReply({ matching: request.token });
    await expect(store.claim(request)).rejects.toThrow('claim failed');
    expect(proxy.cuts).toBe(1);
    expect(await other.claim(retryOf(request))).toMatchObject({
      claimed: false,
      record: { token: request.token },
    });
    expect(await store.claim(request)).toMatchObject({ claimed: true, attempt: 1 });

    proxy.cutReply({ matching: request.token });
    await expect(store.complete(request.id, request.token, RESPONSE, LONG)).rejects.toThrow(
      'complete failed',
    );
    expect(await store.complete(request.id, request.token, RESPONSE, LONG)).toBe(true);
  });

  it('G10 a claim sent again while another one takes the orphan over is not a second owner', async () => {
    const { dataSource, store } = await migrated(flavour);
    const request = newRequest({ leaseMs: 50, takeOrphan: true });
    await store.claim(request);
    await sleep(80);
    let again: Promise<unknown> | undefined;
    await dataSource.transaction(async (manager) => {
      await manager.query(
        `UPDATE idempotency_record SET token = 'other', attempt = 2, lease_until = lease_until + 60000
         WHERE id = '${request.id}'`,
      );
      again = store.claim(request);
      await sleep(150);
    });
    expect(await again).toMatchObject({ claimed: false, record: { token: 'other' } });
  });

  it('G68 nothing is written inside the application’s transaction', async () => {
    const { dataSource, store } = await migrated(flavour);
    const request = newRequest();
    const rolledBack = dataSource.transaction(async () => {
      expect(await store.claim(request)).toMatchObject({ claimed: true });
      throw new Error('the application changes its mind');
    });
    await expect(rolledBack).rejects.toThrow('changes its mind');
    expect((await found(store, request.id)).token).toBe(request.token);
  });

  it('G68 the sweep passes over a row somebody has locked', async () => {
    const { dataSource, store } = await migrated(flavour);
    const requests = [newRequest(), newRequest(), newRequest()] as const;
    for (const { id, token, ...rest } of requests) {
      await store.claim({ id, token, ...rest });
      await store.complete(id, token, RESPONSE, 1);
    }
    await sleep(10);
    const locked = requests[1].id;
    await dataSource.transaction(async (manager) => {
      await manager.query(`SELECT id FROM idempotency_record WHERE id = '${locked}' FOR UPDATE`);
      expect(await store.sweep(10)).toBe(2);
    });
    expect(await store.sweep(10)).toBe(1);
  });

  it('with replication only the primary is asked', async () => {
    const { options, store: other } = await migrated(flavour);
    const { url } = options as { url: string };
    const { url: elsewhere } = (await flavour.create()) as { url: string };
    const replication = { master: { url }, slaves: [{ url: elsewhere }] };
    const store = storeOf(flavour, kept(await open(options, { url: undefined, replication })));
    for (let i = 0; i < 4; i++) await expectToWork(store);
    const request = newRequest();
    await store.claim(request);
    expect((await found(other, request.id)).token).toBe(request.token);
  });

  it('64 claims of different keys and sweeps at once: no deadlock reaches the caller', async () => {
    const { store } = await migrated(flavour, { poolSize: 24 });
    const requests = Array.from({ length: 64 }, () => newRequest());
    const claiming = new AbortController();
    const sweeps = (async () => {
      while (!claiming.signal.aborted) await store.sweep(50);
    })();
    for (let round = 0; round < 6; round++) {
      const answers = await Promise.all(
        requests.map(async (request) => {
          const retry = retryOf(request);
          const answer = await store.claim(retry);
          return answer.claimed && (await store.complete(retry.id, retry.token, RESPONSE, 1));
        }),
      );
      expect(answers).toEqual(requests.map(() => true));
      await sleep(3);
    }
    claiming.abort();
    await sweeps;
  });
});

lane('PostgreSQL', () => {
  it('claim and complete are one statement each, a replay is two', async () => {
    const { dataSource, store } = await migrated(POSTGRES);
    const pool = (dataSource.driver as unknown as { master: { query: (...given: unknown[]) => unknown } })
      .master;
    let statements = 0;
    const query = pool.query.bind(pool);
    pool.query = (...given) => (statements++, query(...given));
    const request = newRequest();
    await store.claim(request);
    await store.complete(request.id, request.token, RESPONSE, LONG);
    expect(statements).toBe(2);
    expect(await store.claim(retryOf(request))).toMatchObject({ record: { state: 'completed' } });
    expect(statements).toBe(4);
  });

  it('rows are looked up by their id, whatever statistics say of the index on state', async () => {
    const { dataSource, store } = await migrated(POSTGRES);
    await dataSource.query(
      `INSERT INTO idempotency_record (id, scope, key, fingerprint, state, attempt, token, fence, lease_until, created_at)
       SELECT lpad(i::text, 64, '0'), '', '', '', 'completed', 1, '', 0, 0, 0 FROM generate_series(1, 3000) AS i`,
    );
    await dataSource.query('ANALYZE idempotency_record');
    const pool = (dataSource.driver as unknown as { master: { query: (...given: unknown[]) => unknown } })
      .master;
    const sent: [text: string, values: unknown[]][] = [];
    const query = pool.query.bind(pool);
    pool.query = (...given) => (sent.push(given as never), query(...given));
    const { id, token, ...rest } = newRequest();
    await store.claim({ id, token, ...rest });
    await store.claim({ id, token, ...rest });
    await store.renew([{ id, token }], LONG);
    await store.complete(id, 'other', RESPONSE, LONG);
    await store.release(id, 'other', 'keep', LONG);
    await store.markUncertain(id, 'other');
    await store.reserve(id, 'other', LONG);
    pool.query = query;
    for (const [text, values] of sent) {
      const plan = JSON.stringify(await dataSource.query(`EXPLAIN ${text}`, values));
      expect(plan).toMatch(/Conflict|Index Scan/);
      expect(plan).not.toContain('idempotency_record_list');
    }
  });
});

lane('MySQL and MariaDB', () => {
  it('a lock that is not given is asked for again, and then an error', async () => {
    const { options, dataSource } = await migrated(MARIADB);
    const driver = mysqlSaying('SET innodb_lock_wait_timeout = 1');
    const store = typeOrmStore({ dataSource: kept(await open(options, { driver })) });
    const [soon, late] = [newRequest(), newRequest()];
    await store.claim(soon);
    await store.claim(late);
    const hold = (id: string, ms: number) =>
      dataSource.transaction(async (manager) => {
        await manager.query(`SELECT id FROM idempotency_record WHERE id = '${id}' FOR UPDATE`);
        await sleep(ms);
      });
    const holds = [hold(soon.id, 1_300), hold(late.id, 4_500)];
    await sleep(100);
    const rejected = store.claim(retryOf(late)).catch((error: unknown) => error);
    expect(await store.claim(retryOf(soon))).toMatchObject({
      claimed: false,
      record: { token: soon.token },
    });
    expect(await rejected).toMatchObject({ cause: { errno: 1205 } });
    await Promise.all(holds);
  });

  it('any text is kept whatever the character set of the connection, which may not show it', async () => {
    const { options, store: other } = await migrated(MARIADB);
    const store = typeOrmStore({ dataSource: kept(await open(options, { charset: 'latin1' })) });
    const request = newRequest({ key: '退款 😀', scope: "naïve '\\" });
    await store.claim(request);
    const headers = { 'x-note': 'naïve 😀 \\' };
    expect(await store.complete(request.id, request.token, { ...RESPONSE, headers }, LONG)).toBe(true);
    expect(await found(other, request.id)).toMatchObject({
      key: '退款 😀',
      scope: "naïve '\\",
      response: { headers },
    });
  });

  it('a completion repeated within the same millisecond is accepted by a client that counts changes', async () => {
    const { options } = await migrated(MARIADB);
    const dataSource = kept(await open(options, { extra: { flags: ['-FOUND_ROWS'] } }));
    const store = typeOrmStore({ dataSource });
    const request = newRequest();
    await store.claim(request);
    const answers = await Promise.all(
      Array.from({ length: 40 }, () => store.complete(request.id, request.token, RESPONSE, LONG)),
    );
    expect(new Set(answers)).toEqual(new Set([true]));
    const running = newRequest();
    await store.claim(running);
    const renewals = await Promise.all(Array.from({ length: 40 }, () => store.renew([running], LONG)));
    expect(new Set(renewals.flat())).toEqual(new Set([true]));
  });

  it('settings of the application’s queries do not reach the store’s', async () => {
    const { options } = await migrated(MARIADB);
    const typeCast = () => 'cast by the application';
    const extra = {
      rowsAsArray: true,
      nestTables: true,
      bigNumberStrings: false,
      dateStrings: true,
      typeCast,
    };
    // Set once TypeORM, which reads rows while it connects, is done.
    const dataSource = kept(await open(options));
    const { pool } = dataSource.driver as unknown as { pool: EventEmitter };
    pool.on('acquire', ({ config }: { config: object }) => Object.assign(config, extra));
    await expectToWork(typeOrmStore({ dataSource }));
  });
});

describe('SQLite', () => {
  /** Sees only what is committed. */
  async function stored(options: DataSourceOptions, id: string): Promise<string | undefined> {
    const database = new libsql(String(options.database));
    try {
      const rows = database.prepare('SELECT state FROM idempotency_record WHERE id = ?').all(id) as {
        state: string;
      }[];
      return rows[0]?.state;
    } finally {
      database.close();
    }
  }

  it('G68 waits for the end of the application’s transaction, and is not rolled back with it', async () => {
    const { options, dataSource, store } = await migrated(SQLITE);
    await dataSource.query('CREATE TABLE account (balance int)');
    const request = newRequest();
    let answer: unknown;
    let pending: Promise<unknown> | undefined;
    const rolledBack = dataSource.transaction(async (manager) => {
      await manager.query('INSERT INTO account VALUES (1)');
      pending = store.claim(request).then((given) => (answer = given));
      await sleep(60);
      expect(answer).toBeUndefined();
      throw new Error('the application changes its mind');
    });
    await expect(rolledBack).rejects.toThrow('changes its mind');
    await pending;
    expect(answer).toMatchObject({ claimed: true });
    expect(await stored(options, request.id)).toBe('running');
    expect(await dataSource.query('SELECT * FROM account')).toEqual([]);
  });

  it('G68 finds its moment between transactions that follow each other without a pause', async () => {
    const { dataSource, store } = await migrated(SQLITE);
    const enough = new AbortController();
    const application = (async () => {
      while (!enough.signal.aborted) await dataSource.transaction(() => sleep(4));
    })();
    for (let i = 0; i < 5; i++) await expectToWork(store);
    enough.abort();
    await application;
  });

  inLane(() => {
    it('G68 gives up on a transaction that does not end, in order of arrival, and goes on after it', async () => {
      const { dataSource, store } = await migrated(SQLITE);
      const runner = dataSource.createQueryRunner();
      await runner.startTransaction();
      const began = performance.now();
      const claims = [newRequest(), newRequest()].map((request) => store.claim(request));
      for (const { status, reason } of (await Promise.allSettled(claims)) as PromiseRejectedResult[]) {
        expect(status).toBe('rejected');
        expect(reason.message).toMatch(/in a transaction of the application for 3000 ms/);
      }
      expect(performance.now() - began).toBeLessThan(4_500);
      await runner.commitTransaction();
      await expectToWork(store);
    });
  });

  it('a DataSource that is destroyed meanwhile is an error, not the end of the process', async () => {
    const { dataSource, store } = await migrated(SQLITE);
    await dataSource.createQueryRunner().startTransaction();
    const claim = store.claim(newRequest()).catch((error: unknown) => error);
    await dataSource.destroy();
    expect(await claim).toMatchObject({ message: expect.stringContaining('was destroyed') });
  });

  it('waits for another process that writes, without stopping this one', async () => {
    const { options, dataSource, store } = await migrated(SQLITE);
    const other = new libsql(String(options.database));
    other.exec('BEGIN IMMEDIATE');
    let longestStop = 0;
    let last = performance.now();
    const pulse = setInterval(() => {
      longestStop = Math.max(longestStop, performance.now() - last);
      last = performance.now();
    }, 5);
    const request = newRequest();
    const claim = store.claim(request);
    await sleep(500);
    clearInterval(pulse);
    other.exec('COMMIT');
    expect(await claim).toMatchObject({ claimed: true });
    expect(longestStop).toBeLessThan(400);
    // The application's own statements wait as long as it has set.
    expect(await dataSource.query('PRAGMA busy_timeout')).toEqual([{ timeout: 5_000 }]);
    expect(await stored(options, request.id)).toBe('running');
    other.close();
  });

  inLane(() => {
    it('a refusal by another writer is an error after 3 s, never "not claimed"', async () => {
      const { options, store } = await migrated(SQLITE);
      const other = new libsql(String(options.database));
      other.exec('BEGIN IMMEDIATE');
      await expect(store.claim(newRequest())).rejects.toMatchObject({ cause: { code: 'SQLITE_BUSY' } });
      other.exec('ROLLBACK');
      other.close();
      await expectToWork(store);
    });
  });

  inLane(() => {
    it('G01 G53 three processes on one file: every key is won once, and what a killed one has told is stored', async () => {
      const { options, store } = await migrated(SQLITE);
      const count = 150;
      const claimers = [1, 2, 3].map(() =>
        startProcess(new URL('./fixtures/sqlite-claimer.ts', import.meta.url), {
          args: [String(options.database), String(count)],
        }),
      );
      await Promise.all(claimers.map((claimer) => claimer.waitForLine(/^ready$/)));
      for (const claimer of claimers) await claimer.send('go');
      await claimers[0]!.waitForLine(/^won/);
      await claimers[0]!.kill();
      const exits = await Promise.all(claimers.slice(1).map(({ exited }) => exited));
      expect(exits.map(({ code, stderr }) => ({ code, stderr }))).toEqual(
        [1, 2].map(() => ({ code: 0, stderr: '' })),
      );
      const won = claimers.flatMap(({ lines }) => lines.filter((line) => line !== 'ready'));
      expect(won.filter((line) => !line.startsWith('won'))).toEqual([]);
      const keys = won.map((line) => line.slice(4));
      expect(new Set(keys).size).toBe(keys.length);
      for (const key of keys) expect((await found(store, hash(key))).state).toBe('completed');
      // The killed one had at most 16 in hand.
      expect(keys.length).toBeGreaterThan(count - 17);
    });
  });
});
