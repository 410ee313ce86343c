import type { Parameter } from '../../../sql/sql-database.js';
import type { PostgresDatabase } from '../../../sql/postgres.database.js';
import { type Attempt, COLUMNS, Dialect, type HeldLock, type Row } from './dialect.js';

/** How long a statement waits for a row somebody has locked, in milliseconds. Nobody should have it for more than an instant. */
const ROW_WAIT_MS = 2_000;
/** How long after somebody began to wait releases are announced, in milliseconds. */
export const WAKE_FOR_MS = 60_000;

export class PostgresDialect extends Dialect {
  protected readonly grammar = {
    old: (column: string) => `r.${column}`,
    fresh: (column: string) => `excluded.${column}`,
  };

  /** @param channel on which releases are announced; a plain identifier. */
  constructor(
    table: string,
    readonly database: PostgresDatabase,
    readonly channel: string,
  ) {
    super(table);
  }

  /**
   * Inserts, or updates the row that is there under its lock if it may be taken; else reads it.
   *
   * The read sees what was there when the statement began, the update what is there now. A row that changed in
   * between is told as it was, or not at all: if it was not there yet, or was the caller's own and is no more.
   *
   * `set_config(…, true)` is SET LOCAL within the statement: whoever sits on the row, an administrator's
   * forgotten transaction for instance, does not sit on the pool's connections, too.
   */
  async acquire(attempt: Attempt): Promise<Row | undefined> {
    const { rows } = await this.run(
      `WITH mine AS (
         INSERT INTO ${this.table} AS r ${COLUMNS}
         SELECT ${this.freshValues}
         FROM (SELECT set_config('lock_timeout', '${ROW_WAIT_MS}', true) AS value) AS setting
         WHERE setting.value IS NOT NULL
         ON CONFLICT (id) DO UPDATE SET ${this.assignments.map((pair) => pair.join(' = ')).join(', ')}
         WHERE ${this.takeable}
         RETURNING *
       )
       SELECT ${this.columns} FROM mine
       UNION ALL
       SELECT ${this.columns} FROM ${this.table} 
       WHERE id = ? AND token IS DISTINCT FROM ? AND NOT EXISTS (SELECT 1 FROM mine)`,
      [...this.freshParameters(attempt), attempt.id, attempt.token],
      attempt.wanted,
    );
    return rows[0];
  }

  async extend(locks: readonly HeldLock[], ttlMs: number, delayMs: number): Promise<boolean[]> {
    // The casts make the comparison one of the column's own type: text would not use the primary key.
    const { rows } = await this.run(
      `UPDATE ${this.table} AS r SET until = ${this.now} + ?, free_at = ${this.now} + ?
       FROM unnest(?::bpchar[], ?::varchar[]) AS l(id, token)
       WHERE r.id = l.id AND r.token = l.token AND r.until > ${this.now}
       RETURNING r.id, r.token`,
      [ttlMs, ttlMs + delayMs, locks.map(({ id }) => id), locks.map(({ token }) => token)],
    );
    const extended = new Map(rows.map(({ id, token }) => [id, token]));
    return locks.map(({ id, token }) => extended.get(id) === token);
  }

  /**
   * Tells who waits, if somebody may. A notification takes a lock all transactions with one share, until it is
   * committed, and wakes every listening process. Not waiting for the disk keeps that short, and is safe: a release
   * that a crash undoes is a lock that runs out by itself.
   */
  override async release(id: string, token: string): Promise<boolean> {
    const { rows } = await this.run(
      `WITH released AS (
         UPDATE ${this.table} AS r SET token = NULL, free_at = ${this.now}
         WHERE id = ? AND token = ? AND until > ${this.now}
           AND (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL
         RETURNING id, wake_until
       )
       SELECT CASE WHEN wake_until > ${this.now} THEN pg_notify('${this.channel}', id)::text END FROM released`,
      [id, token],
    );
    return rows.length > 0;
  }

  /** From now on releases of these are announced, for a while. */
  async announce(ids: readonly string[]): Promise<void> {
    await this.run(
      `INSERT INTO ${this.table} AS r ${COLUMNS}
       SELECT l.id, NULL, 0, 0, ${this.now}, ${this.now} + ${WAKE_FOR_MS}
       FROM (SELECT unnest(?::bpchar[]) AS id ORDER BY 1) AS l
       ON CONFLICT (id) DO UPDATE SET wake_until = excluded.wake_until
       WHERE r.wake_until < excluded.wake_until - ${WAKE_FOR_MS / 4}`,
      [ids],
    );
  }

  /** Rows somebody has locked are left for the next time. The lock looks at the row's present state again. */
  async deleteFree(limit: number, upToFence: number): Promise<number> {
    const { affected } = await this.run(
      `WITH free AS (
         SELECT id FROM ${this.table} WHERE ${this.isSweepable} AND fence <= ?
         ORDER BY free_at LIMIT ? FOR UPDATE SKIP LOCKED
       )
       DELETE FROM ${this.table} AS r USING free WHERE r.id = free.id`,
      [upToFence, limit],
    );
    return affected;
  }

  protected raise(row: Parameter[]): Promise<unknown> {
    return this.run(
      `INSERT INTO ${this.table} AS r ${COLUMNS} VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET fence = GREATEST(r.fence, excluded.fence)`,
      row,
    );
  }
}
