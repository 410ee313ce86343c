import type { SqliteDatabase } from '../../../sql/sqlite.database.js';
import type { ClaimRef, ClaimRequest } from '../../result-store.js';
import { Dialect, IS_RUNNING, type Row } from './dialect.js';

export class SqliteDialect extends Dialect {
  protected readonly grammar = {
    old: (column: string) => `r.${column}`,
    fresh: (column: string) => `excluded.${column}`,
  };

  constructor(
    table: string,
    stepTable: string,
    readonly database: SqliteDatabase,
  ) {
    super(table, stepTable);
  }

  /** Inserts, or updates the row that is there if it may be taken; reads it if not. One transaction. */
  claim(request: ClaimRequest): Promise<Row | undefined> {
    const upsert = `INSERT INTO ${this.table} AS r ${this.insertColumnsAndValues}
       ON CONFLICT (id) DO UPDATE SET ${this.assignments.map((pair) => pair.join(' = ')).join(', ')}
       WHERE ${this.takeable(request.takeOrphan)}
       RETURNING ${this.columns}`;
    const read = `SELECT ${this.columns} FROM ${this.table} WHERE id = ?`;
    return this.database.atomically((run) => {
      const [mine] = run<Row>(upsert, this.insertParameters(request)).rows;
      return mine ?? run<Row>(read, [request.id]).rows[0];
    });
  }

  async renew(claims: readonly ClaimRef[], leaseMs: number): Promise<boolean[]> {
    const { rows } = await this.run(
      `UPDATE ${this.table} AS r SET lease_until = ${this.now} + ?
       FROM json_each(?) AS c
       WHERE r.id = c.value ->> 0 AND r.token = c.value ->> 1 AND ${IS_RUNNING}
       RETURNING id, token`,
      [leaseMs, JSON.stringify(claims.map(({ id, token }) => [id, token]))],
    );
    const renewed = new Map(rows.map(({ id, token }) => [id, token]));
    return claims.map(({ id, token }) => renewed.get(id) === token);
  }

  /** A database has one writer: nothing changes between the look and the deletion. */
  sweep(limit: number): Promise<number> {
    return this.database.atomically((run) => {
      const { rows, affected } = run<Row>(
        `DELETE FROM ${this.table}
         WHERE id IN (SELECT id FROM ${this.table} WHERE ${this.isSweepable} ORDER BY expires_at LIMIT ?)
         RETURNING id`,
        [limit],
      );
      const ids = JSON.stringify(rows.map(({ id }) => id));
      run(`DELETE FROM ${this.stepTable} WHERE record_id IN (SELECT value FROM json_each(?))`, [ids]);
      return affected;
    });
  }

  /** There is one writer. */
  protected override readonly writeLock = '';
}
