/** What arrives at the servers. */
import { Redis } from 'ioredis';
import pg from 'pg';
import type { Servers } from './variants.js';

export interface Commands {
  /** Commands a client sent; one is one round trip unless pipelined. */
  readonly redis: Record<string, number>;
  /** Commands that scripts called, at no round trip. */
  readonly inScripts: number;
  /** Statements, `BEGIN` and the like included. */
  readonly sql: number;
}

/** Counts what arrives while `work` is done: by MONITOR and by pg_stat_statements. */
export async function commandsDuring(
  { redisUrl, postgresUrl }: Servers,
  work: () => Promise<unknown>,
): Promise<Commands> {
  let sql = 0;
  const redis = await redisCommandsDuring(redisUrl, async () => {
    const before = await statements(postgresUrl);
    await work();
    sql = (await statements(postgresUrl)) - before;
  });
  return { ...redis, sql };
}

/** Counts what arrives at a Redis while `work` is done. */
export async function redisCommandsDuring(
  redisUrl: string,
  work: () => Promise<unknown>,
): Promise<Omit<Commands, 'sql'>> {
  const client = new Redis(redisUrl);
  const monitor = await client.monitor();
  const redis: Record<string, number> = {};
  let inScripts = 0;
  const marker = `end of ${Math.random()}`;
  const complete = new Promise<void>((resolve) => {
    monitor.on('monitor', (_time: string, [command, ...args]: string[], source: string) => {
      if (args[0] === marker) resolve();
      else if (source === 'lua') inScripts++;
      else redis[command!.toLowerCase()] = (redis[command!.toLowerCase()] ?? 0) + 1;
    });
  });
  await work();
  await client.echo(marker);
  await complete;
  monitor.disconnect();
  client.disconnect();
  return { redis, inScripts };
}

/** PostgreSQL counts calls of each statement as they end; the question itself is not counted. */
async function statements(url: string): Promise<number> {
  return withPostgres(url, async (client) => {
    const { rows } = await client.query<{ calls: string | null }>(
      `SELECT sum(calls) AS calls FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat_statements%'`,
    );
    return Number(rows[0]?.calls ?? 0);
  });
}

/** What the server is started with so that it counts. */
export const COUNTING = ['-c', 'shared_preload_libraries=pg_stat_statements'];

export function startCounting(url: string): Promise<unknown> {
  return withPostgres(url, (client) => client.query('CREATE EXTENSION pg_stat_statements'));
}

/** For new and present connections: while time is taken nothing is counted. */
export function stopCounting(url: string): Promise<unknown> {
  return withPostgres(url, async (client) => {
    await client.query(`ALTER SYSTEM SET pg_stat_statements.track = 'none'`);
    await client.query('SELECT pg_reload_conf()');
  });
}

async function withPostgres<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
