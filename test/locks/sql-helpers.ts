import { createHash, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DataSource, DataSourceOptions } from 'typeorm';
import type { LockDriver } from '../../lib/locks/lock-driver.js';
import type { LockLease } from '../../lib/locks/lock-lease.js';
import type { LockService } from '../../lib/locks/lock.service.js';
import { type SqlLock, sqlLock, type SqlLockOptions } from '../../lib/locks/sql/index.js';
import { type Flavour, open, openMigrated } from '../stores/typeorm-flavours.js';
import { atEnd } from '../support/lanes.js';

export const LONG_MS = 30_000;

export interface Opened {
  readonly options: DataSourceOptions;
  readonly dataSource: DataSource;
  readonly lock: SqlLock;
}

/** Locks in a fresh database. */
export async function locked(
  flavour: Flavour,
  lockOptions: Partial<SqlLockOptions> = {},
  changes: object = {},
): Promise<Opened> {
  const options = await flavour.create();
  const dataSource = await openMigrated(options, changes);
  closeAtEnd(dataSource);
  return { options, dataSource, lock: lockOf(flavour, dataSource, lockOptions) };
}

/** The same locks by another DataSource. */
export async function another(
  flavour: Flavour,
  options: DataSourceOptions,
  changes: object = {},
  lockOptions: Partial<SqlLockOptions> = {},
): Promise<Opened> {
  const dataSource = await open(options, changes);
  closeAtEnd(dataSource);
  return { options, dataSource, lock: lockOf(flavour, dataSource, lockOptions) };
}

function closeAtEnd(dataSource: DataSource): void {
  atEnd(() => dataSource.isInitialized && dataSource.destroy());
}

export function lockOf(
  { storeOptions = {} }: Flavour,
  dataSource: DataSource,
  lockOptions: Partial<SqlLockOptions> = {},
): SqlLock {
  const { returning: mariaDb, preparedStatements } = storeOptions;
  return sqlLock({ dataSource, mariaDb, preparedStatements, ...lockOptions });
}

export function urlOf(options: DataSourceOptions): string {
  return (options as { url: string }).url;
}

/** What a fixture needs to open it: `type` and place. */
export function placeOf(options: DataSourceOptions): string[] {
  return [options.type, options.type === 'better-sqlite3' ? options.database : urlOf(options)];
}

export function portOf(options: DataSourceOptions): number {
  return Number(new URL(urlOf(options)).port);
}

export async function acquired(
  lock: LockDriver,
  name: string,
  token: string,
  ttlMs = LONG_MS,
): Promise<bigint> {
  const answer = await lock.acquire(name, token, ttlMs);
  if (!answer.acquired) throw new Error(`busy: ${JSON.stringify(answer)}`);
  return answer.fence;
}

export async function leased(service: LockService, name: string, ttlMs: number): Promise<LockLease> {
  const result = await service.acquire(name, { ttlMs });
  if (result.status !== 'acquired') throw new Error(result.status);
  return result.lease;
}

export async function isFree(lock: LockDriver, name: string): Promise<boolean> {
  const token = randomUUID();
  const answer = await lock.acquire(name, token, LONG_MS);
  return answer.acquired && lock.release(name, token);
}

/** The `id` of a lock's row. */
export function idOf(name: string): string {
  return createHash('sha256').update(name, 'utf16le').digest('hex');
}

/** As if everything there is had happened longer ago. */
export async function age(dataSource: DataSource, ms = 120_000): Promise<void> {
  await dataSource.query(
    `UPDATE idempotency_lock SET until = until - ${ms}, free_at = free_at - ${ms}, fence = fence - ${ms * 1_000}
     WHERE id NOT IN ('floor', 'sweep')`,
  );
}

/** How many locks have a row, held or not. */
export async function rowCount(dataSource: DataSource): Promise<number> {
  const [row] = await dataSource.query<{ count: number | string }[]>(
    `SELECT COUNT(*) AS count FROM idempotency_lock WHERE id NOT IN ('floor', 'sweep')`,
  );
  return Number(row!.count);
}

export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${condition}`);
    await sleep(10);
  }
}
