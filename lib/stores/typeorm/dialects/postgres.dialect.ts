import { createHash } from 'node:crypto';
import type { DataSource } from 'typeorm';
import type { ClaimRef, ClaimRequest } from '../../result-store.js';
import { Dialect, IS_RUNNING, type Parameter, type Result, type Row, property } from './dialect.js';

/** What is used of `pg.Pool`. */
interface Pool {
  query(statement: {
    text: string;
    values: unknown[];
    name?: string;
  }): Promise<{ rows: Row[]; rowCount: number | null }>;
}

const TRANSIENT = ['40001', '40P01']; // serialization_failure (under a default isolation level above read committed), deadlock
const SCHEMA_MISSING = ['42P01', '42703', '3F000']; // undefined table, column, schema

/** PostgreSQL 9.5 and later. Statements run on the DataSource's (master) pool, never on the application's connection. */
export class PostgresDialect extends Dialect {
  // clock_timestamp() and not now(): what a statement decides after it waited for a row must not be of before.
  protected readonly now = 'floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint';
  protected readonly micros = 'floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint';
  protected readonly grammar = {
    old: (column: string) => `r.${column}`,
    fresh: (column: string) => `excluded.${column}`,
  };
  readonly #statements = new Map<string, { text: string; name?: string }>();

  constructor(
    table: string,
    private readonly dataSource: DataSource,
    private readonly named: boolean,
  ) {
    super(table);
  }

  /**
   * Inserts, or updates the row that is there under its lock if it may be taken; else reads it.
   *
   * The read sees what was there when the statement began, the update what is there now. A row that changed in
   * between is told as it was, or not at all if it was not there yet.
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
       SELECT ${this.columns} FROM ${this.table} WHERE id = ? AND NOT EXISTS (SELECT 1 FROM mine)`,
      [...this.insertParameters(request), request.id],
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
       )
       DELETE FROM ${this.table} AS r USING expired WHERE r.id = expired.id`,
      [limit],
    );
    return affected;
  }

  isSchemaMissing(error: unknown): boolean {
    return SCHEMA_MISSING.includes(String(property(error, 'code')));
  }

  protected isTransient(error: unknown): boolean {
    return TRANSIENT.includes(String(property(error, 'code')));
  }

  protected async execute(sql: string, parameters: readonly Parameter[]): Promise<Result> {
    const pool = (this.dataSource.driver as unknown as { master: Pool }).master;
    const { rows, rowCount } = await pool.query({ ...this.#statement(sql), values: [...parameters] });
    return { rows, affected: rowCount ?? 0 };
  }

  #statement(sql: string): { text: string; name?: string } {
    let statement = this.#statements.get(sql);
    if (!statement) {
      let count = 0;
      const text = sql.replaceAll('?', () => `$${++count}`);
      // By its content: another version of this package on the same connection has other names.
      const name = `idempotent_${createHash('sha1').update(text).digest('hex')}`;
      statement = this.named ? { text, name } : { text };
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}
