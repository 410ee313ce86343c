import type { PostgresDatabase } from '../../../sql/postgres.database.js';
import type { ClaimRef, ClaimRequest } from '../../result-store.js';
import { Dialect, IS_RUNNING, type Row } from './dialect.js';

export class PostgresDialect extends Dialect {
  protected readonly grammar = {
    old: (column: string) => `r.${column}`,
    fresh: (column: string) => `excluded.${column}`,
  };

  constructor(
    table: string,
    stepTable: string,
    readonly database: PostgresDatabase,
  ) {
    super(table, stepTable);
  }

  /**
   * Nearly every call finds no row, or a finished one. A mere insert takes PostgreSQL a quarter of the time of
   * `claim`, most of which is planning; and even with the read the two take half of it.
   */
  override async claimNew(request: ClaimRequest): Promise<Row | undefined> {
    const insert = this.once(
      'insert',
      () => `INSERT INTO ${this.table} ${this.insertColumnsAndValues}
       ON CONFLICT (id) DO NOTHING RETURNING fence`,
    );
    const [inserted] = (await this.run(insert, this.insertParameters(request))).rows;
    // Of a row that is the caller's nobody looks at more.
    if (inserted) return { ...inserted, state: 'running', attempt: 1, token: request.token };
    const read = this.once(
      'read foreign',
      () => `SELECT ${this.columns} FROM ${this.table}
       WHERE id = ? AND NOT (${IS_RUNNING} AND COALESCE(token = ?, FALSE))`,
    );
    return (await this.run(read, [request.id, request.token])).rows[0];
  }

  /**
   * Inserts, or updates the row that is there under its lock if it may be taken; else reads it.
   *
   * The read sees what was there when the statement began, the update what is there now. A row that changed in
   * between is told as it was, or not at all: if it was not there yet, or was the caller's own and is no more.
   */
  async claim(request: ClaimRequest): Promise<Row | undefined> {
    const { rows } = await this.run(
      `WITH mine AS (
         INSERT INTO ${this.table} AS r ${this.insertColumnsAndValues}
         ON CONFLICT (id) DO UPDATE SET ${this.assignments.map((pair) => pair.join(' = ')).join(', ')}
         WHERE ${this.takeable(request.takeOrphan)}
         RETURNING *
       )
       SELECT ${this.columns} FROM mine
       UNION ALL
       SELECT ${this.columns} FROM ${this.table}
       WHERE id = ? AND NOT EXISTS (SELECT 1 FROM mine) AND NOT (${IS_RUNNING} AND COALESCE(token = ?, FALSE))`,
      [...this.insertParameters(request), request.id, request.token],
    );
    return rows[0];
  }

  async renew(claims: readonly ClaimRef[], leaseMs: number): Promise<boolean[]> {
    // The casts make the comparison one of the column's own type: text would not use the primary key.
    const { rows } = await this.run(
      `UPDATE ${this.table} AS r SET lease_until = ${this.now} + ?
       FROM unnest(?::bpchar[], ?::varchar[]) AS c(id, token)
       WHERE r.id = c.id AND r.token = c.token AND ${IS_RUNNING}
       RETURNING r.id, r.token`,
      [leaseMs, claims.map(({ id }) => id), claims.map(({ token }) => token)],
    );
    const renewed = new Map(rows.map(({ id, token }) => [id, token]));
    return claims.map(({ id, token }) => renewed.get(id) === token);
  }

  /** Rows somebody has locked are left for the next time. The lock looks at the row's present state again. */
  async sweep(limit: number): Promise<number> {
    const { affected } = await this.run(
      `WITH expired AS (
         SELECT id FROM ${this.table} WHERE ${this.isSweepable}
         ORDER BY expires_at LIMIT ? FOR UPDATE SKIP LOCKED
       ), their_steps AS (
         DELETE FROM ${this.stepTable} AS s USING expired WHERE s.record_id = expired.id
       )
       DELETE FROM ${this.table} AS r USING expired WHERE r.id = expired.id`,
      [limit],
    );
    return affected;
  }
}
