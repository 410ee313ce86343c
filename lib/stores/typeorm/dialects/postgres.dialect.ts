import type { PostgresDatabase } from '../../../sql/postgres.database.js';
import { Bunch } from '../../../sql/bunch.js';
import type { ClaimRef, ClaimRequest, StoredResponse } from '../../result-store.js';
import { bytes, Dialect, IS_RUNNING, type Row } from './dialect.js';

/**
 * Which is always so. The planner takes it for a condition that hardly any row meets, and looks the rows up one by one
 * by their key: a prepared statement keeps its plan, and one made while the table is small would read all of it for good.
 */
const FEW = `c.id = c.id || ''`;

/** Bodies up to which a completion travels with others: in a list bytes take twice their room. */
const SMALL_BYTES = 8_192;

interface Completion {
  readonly id: string;
  readonly token: string;
  readonly response: StoredResponse;
  readonly retentionMs: number;
}

export class PostgresDialect extends Dialect {
  protected readonly grammar = {
    old: (column: string) => `r.${column}`,
    fresh: (column: string) => `excluded.${column}`,
  };

  readonly #claims: Bunch<ClaimRequest, Row | undefined>;
  readonly #completions: Bunch<Completion, boolean>;

  constructor(
    table: string,
    stepTable: string,
    readonly database: PostgresDatabase,
  ) {
    super(table, stepTable);
    const isRefusal = (error: unknown) => database.isRefusal(error);
    this.#claims = new Bunch((requests) => this.#claimAll(requests), isRefusal);
    this.#completions = new Bunch((completions) => this.#completeAll(completions), isRefusal);
  }

  /**
   * Nearly every call finds no row, or a finished one. A mere insert takes PostgreSQL a quarter of the time of
   * `claim`, most of which is planning; and even with the read the two take half of it.
   */
  override claimNew(request: ClaimRequest): Promise<Row | undefined> {
    return this.#claims.ask(request);
  }

  /**
   * In the order of ids: of two statements that insert the same rows in different orders one would be the victim.
   *
   * A row that is there is not tried: an insert waits for whoever has it locked (a transaction that was stopped before
   * its commit), and with it would wait all that travels along. What is inserted meanwhile the conflict decides.
   */
  async #claimAll(requests: readonly ClaimRequest[]): Promise<(Row | undefined)[]> {
    const insert = this.once(
      'insert',
      () => `INSERT INTO ${this.table}
         (id, scope, "key", fingerprint, state, attempt, token, fence, lease_until, created_at)
       SELECT id, scope, "key", fingerprint, 'running', 1, token, ${this.micros}, ${this.now} + lease, ${this.now}
       FROM unnest(?::bpchar[], ?::text[], ?::text[], ?::bpchar[], ?::varchar[], ?::bigint[])
         AS c(id, scope, "key", fingerprint, token, lease)
       WHERE ${FEW} AND NOT EXISTS (SELECT FROM ${this.table} r WHERE r.id = c.id)
       ORDER BY id
       ON CONFLICT (id) DO NOTHING RETURNING id, token, fence`,
    );
    const column = (of: (request: ClaimRequest) => string | Uint8Array) => requests.map(of);
    const inserted = await this.run(insert, [
      column(({ id }) => id),
      column(({ scope }) => this.text(scope)),
      column(({ key }) => this.text(key)),
      column(({ fingerprint }) => fingerprint),
      column(({ token }) => token),
      column(({ leaseMs }) => String(leaseMs)),
    ]);
    const claimed = new Map(inserted.rows.map((row) => [row.token, row]));
    // Of a row that is the caller's nobody looks at more.
    const mine = requests.map(({ token }): Row | undefined => {
      const row = claimed.get(token);
      return row && { ...row, state: 'running', attempt: 1 };
    });
    if (claimed.size === requests.length) return mine;
    const read = this.once(
      'read',
      () => `SELECT ${this.columns} FROM ${this.table}
       JOIN unnest(?::bpchar[]) AS c(wanted) ON id = wanted AND wanted = wanted || ''`,
    );
    const others = requests.filter(({ token }) => !claimed.has(token));
    const found = new Map(
      (await this.run(read, [others.map(({ id }) => id)])).rows.map((row) => [row.id, row]),
    );
    return requests.map(({ id, token }, index) => {
      if (mine[index]) return mine[index];
      const row = found.get(id);
      return row?.state === 'running' && row.token === token ? undefined : row;
    });
  }

  override complete(
    id: string,
    token: string,
    response: StoredResponse,
    retentionMs: number,
  ): Promise<boolean> {
    const isSmall = (response.body?.byteLength ?? 0) <= SMALL_BYTES;
    return isSmall
      ? this.#completions.ask({ id, token, response, retentionMs })
      : super.complete(id, token, response, retentionMs);
  }

  async #completeAll(completions: readonly Completion[]): Promise<boolean[]> {
    const update = this.once(
      'complete all',
      () => `UPDATE ${this.table} AS r
       SET state = 'completed', status = c.status, headers = c.headers, body = c.body,
           lease_until = 0, completed_at = ${this.now}, expires_at = ${this.now} + c.retention
       FROM unnest(?::bpchar[], ?::varchar[], ?::integer[], ?::text[], ?::bytea[], ?::bigint[])
         AS c(id, token, status, headers, body, retention)
       WHERE r.id = c.id AND r.token = c.token AND ${FEW}
       RETURNING r.token`,
    );
    const { rows } = await this.run(update, [
      completions.map(({ id }) => id),
      completions.map(({ token }) => token),
      completions.map(({ response }) => (response.status === null ? null : String(response.status))),
      completions.map(({ response }) => this.text(JSON.stringify(response.headers))),
      completions.map(({ response }) => response.body && bytes(response.body)),
      completions.map(({ retentionMs }) => String(retentionMs)),
    ]);
    const done = new Set(rows.map(({ token }) => token));
    return completions.map(({ token }) => done.has(token));
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
       WHERE r.id = c.id AND r.token = c.token AND ${FEW} AND ${IS_RUNNING}
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
