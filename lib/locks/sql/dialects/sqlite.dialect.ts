import type { Parameter } from '../../../sql/sql-database.js';
import type { SqliteDatabase } from '../../../sql/sqlite.database.js';
import { type Attempt, COLUMNS, Dialect, type HeldLock, type Row } from './dialect.js';

export class SqliteDialect extends Dialect {
  protected readonly grammar = {
    old: (column: string) => `r.${column}`,
    fresh: (column: string) => `excluded.${column}`,
  };

  constructor(
    table: string,
    readonly database: SqliteDatabase,
  ) {
    super(table);
  }

  /** Inserts, or updates the row that is there if it may be taken; reads it if not. One transaction. */
  acquire(attempt: Attempt): Promise<Row | undefined> {
    const upsert = `INSERT INTO ${this.table} AS r ${COLUMNS} VALUES (${this.freshValues})
       ON CONFLICT (id) DO UPDATE SET ${this.assignments.map((pair) => pair.join(' = ')).join(', ')}
       WHERE ${this.takeable}
       RETURNING ${this.columns}`;
    const read = `SELECT ${this.columns} FROM ${this.table} WHERE id = ?`;
    return this.database.atomically((run) => {
      const [mine] = run<Row>(upsert, this.freshParameters(attempt)).rows;
      return mine ?? run<Row>(read, [attempt.id]).rows[0];
    }, attempt.wanted);
  }

  async extend(locks: readonly HeldLock[], ttlMs: number, delayMs: number): Promise<boolean[]> {
    const { rows } = await this.run(
      `UPDATE ${this.table} AS r SET until = ${this.now} + ?, free_at = ${this.now} + ?
       FROM json_each(?) AS l
       WHERE r.id = l.value ->> 0 AND r.token = l.value ->> 1 AND r.until > ${this.now}
       RETURNING id, token`,
      [ttlMs, ttlMs + delayMs, JSON.stringify(locks.map(({ id, token }) => [id, token]))],
    );
    const extended = new Map(rows.map(({ id, token }) => [id, token]));
    return locks.map(({ id, token }) => extended.get(id) === token);
  }

  /** A database has one writer: nothing changes between the look and the deletion. */
  async deleteFree(limit: number, upToFence: number): Promise<number> {
    const { affected } = await this.run(
      `DELETE FROM ${this.table} WHERE id IN (
         SELECT id FROM ${this.table} WHERE ${this.isSweepable} AND fence <= ? ORDER BY free_at LIMIT ?
       )`,
      [upToFence, limit],
    );
    return affected;
  }

  protected raise(row: Parameter[]): Promise<unknown> {
    return this.run(
      `INSERT INTO ${this.table} AS r ${COLUMNS} VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET fence = max(r.fence, excluded.fence)`,
      row,
    );
  }
}
