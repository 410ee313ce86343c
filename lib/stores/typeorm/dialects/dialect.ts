import type { Integer, Parameter, Result, Run, SqlDatabase } from '../../../sql/sql-database.js';
import type { ClaimRef, ClaimRequest, StoredResponse } from '../../result-store.js';
import type { StepRecord } from '../../step-store.js';

/** A row as the client libraries give it, with the database's clock at that moment. */
export interface Row {
  id: string;
  scope: string;
  key: string;
  fingerprint: string;
  state: 'running' | 'completed' | 'uncertain';
  attempt: Integer;
  token: string | null;
  fence: Integer;
  lease_until: Integer;
  status: Integer | null;
  headers: string | null;
  body: Uint8Array | ArrayBuffer | null;
  created_at: Integer;
  completed_at: Integer | null;
  expires_at: Integer | null;
  now: Integer;
}

export interface StepRow {
  name: string;
  position: Integer;
  result: string;
  attempt: Integer;
  completed_at: Integer;
}

/** What differs between databases in SQL text. `old` is the row there is, `fresh` the one that was to be inserted. */
interface Grammar {
  readonly old: (column: string) => string;
  readonly fresh: (column: string) => string;
}

/**
 * A running row, said so that no planner uses the index on `state`: where its statistics know of few running
 * rows it would rather walk over all of them than look up ids, and MySQL would lock what it walks over.
 */
export const IS_RUNNING = `CASE WHEN state = 'running' THEN 1 ELSE 0 END = 1`;

/**
 * The statements of `TypeOrmStore`, one a purpose, each atomic by itself. Subclasses add what databases do
 * differently: how a row is claimed and read in one go, how many are renewed or swept at once.
 *
 * Invariants of a row, on which the conditions rest:
 * - `expires_at` is NULL exactly while it is running with an owner, or uncertain. So `expires_at <= now` is
 *   true only for a completed or released row whose time is over.
 * - A released row is `running` without a token. A forgotten one is released and expired at once: it
 *   stays for the sweep, so that the next fence is greater even if it is claimed within the same tick of the clock.
 * - Only a running row can have a lease. In an uncertain one `lease_until` tells how long it is reserved for who is to
 *   find out its outcome. It is 0 otherwise.
 */
export abstract class Dialect {
  /** The database it speaks to. */
  abstract readonly database: SqlDatabase;
  protected abstract readonly grammar: Grammar;
  readonly #texts = new Map<string, string>();

  /** @param table where the table of records is, quoted; `stepTable` that of their steps. */
  constructor(
    readonly table: string,
    protected readonly stepTable: string,
    readonly quotedKey = '"key"',
  ) {}

  /** The row as it is after an attempt to claim it. The caller owns it if it is running under his token. */
  abstract claim(request: ClaimRequest): Promise<Row | undefined>;

  /**
   * A cheaper first attempt, if there is one: it claims a key that has no row. A row that could have been claimed
   * is told as it is, or not at all if it is the caller's own. Then `claim` decides.
   */
  claimNew(request: ClaimRequest): Promise<Row | undefined> {
    return this.claim(request);
  }

  /** Prolongs what is still running under its token, and answers in order. */
  abstract renew(claims: readonly ClaimRef[], leaseMs: number): Promise<boolean[]>;

  /** Deletes expired rows: one statement which looks again once it has the row's lock. */
  abstract sweep(limit: number): Promise<number>;

  async find(id: string): Promise<Row | undefined> {
    const { rows } = await this.run(`SELECT ${this.columns} FROM ${this.table} WHERE id = ?`, [id]);
    return rows[0];
  }

  /** A lease that ran out, or doubts of others, do not matter: nobody else's token is in the row. */
  complete(id: string, token: string, response: StoredResponse, retentionMs: number): Promise<boolean> {
    return this.completeBy(this.alone, id, token, response, retentionMs);
  }

  /** @param isLast of a transaction, and not sent again: what is completed already stays as it is. */
  async completeBy(
    run: Run,
    id: string,
    token: string,
    response: StoredResponse,
    retentionMs: number,
    isLast = false,
  ): Promise<boolean> {
    const { affected } = await run(
      this.once(
        isLast ? 'complete last' : 'complete',
        () => `UPDATE ${this.table}
       SET state = 'completed', status = ?, headers = ?, body = ?,
           lease_until = 0, completed_at = ${this.now}, expires_at = ${this.now} + ?
       WHERE id = ? AND token = ?${isLast ? ` AND state <> 'completed'` : ''}`,
      ),
      [
        response.status,
        this.text(JSON.stringify(response.headers)),
        response.body && bytes(response.body),
        retentionMs,
        id,
        token,
      ],
    );
    return affected > 0;
  }

  /** `forgetMs`: how long a first attempt's row is kept, `keepMs` that of a later one. */
  async release(id: string, token: string, forgetMs: number, keepMs: number): Promise<boolean> {
    const { affected } = await this.run(
      `UPDATE ${this.table}
       SET token = NULL, lease_until = 0,
           expires_at = CASE WHEN attempt = 1 THEN ${this.now} + ? ELSE ${this.now} + ? END
       WHERE id = ? AND token = ? AND ${IS_RUNNING}`,
      [forgetMs, keepMs, id, token],
    );
    return affected > 0;
  }

  async markUncertain(id: string, token: string, orphanOnly: boolean): Promise<boolean> {
    const { affected } = await this.run(
      `UPDATE ${this.table} SET state = 'uncertain', lease_until = 0
       WHERE id = ? AND token = ? AND ${IS_RUNNING}${orphanOnly ? ` AND lease_until <= ${this.now}` : ''}`,
      [id, token],
    );
    return affected > 0;
  }

  /** Those of the record's present life: what an earlier one under the same id has left is not told. */
  steps(id: string): Promise<Result<StepRow>> {
    return this.database.run<StepRow>(
      `SELECT s.name, s.position, s.result, s.attempt, s.completed_at
       FROM ${this.stepTable} s JOIN ${this.table} r
         ON r.id = s.record_id AND r.created_at = s.record_created_at
       WHERE r.id = ? AND (r.expires_at IS NULL OR r.expires_at > ${this.now})
       ORDER BY s.position ${this.readLock}`,
      [id],
    );
  }

  /**
   * Writes a step if the token owns the running record. That row is locked until the statement, or the transaction
   * it is part of, has come to its end: nobody takes the record over in between.
   */
  async recordStep(id: string, token: string, step: StepRecord, run: Run = this.alone): Promise<boolean> {
    const columns = ['position', 'result', 'attempt', 'record_created_at', 'completed_at'];
    const { affected } = await run(
      this.once(
        'record step',
        () => `INSERT INTO ${this.stepTable} (record_id, name, ${columns.join(', ')})
       SELECT id, ?, ?, ?, attempt, created_at, ${this.now} FROM ${this.table}
       WHERE id = ? AND token = ? AND ${IS_RUNNING} ${this.writeLock}
       ${this.onStepThere(columns)}`,
      ),
      [this.text(step.name), step.position, this.text(step.result), id, token],
    );
    return affected > 0;
  }

  protected readonly readLock: string = '';
  protected readonly writeLock: string = 'FOR UPDATE';

  /** Sent again, or left by an earlier life of the record. */
  protected onStepThere(columns: readonly string[]): string {
    const set = columns.map((column) => `${column} = excluded.${column}`);
    return `ON CONFLICT (record_id, name) DO UPDATE SET ${set.join(', ')}`;
  }

  /** The text of a frequent statement. Made but once: it is long, and looked up by its hash with every call. */
  protected once(name: string, make: () => string): string {
    let text = this.#texts.get(name);
    if (text === undefined) this.#texts.set(name, (text = make()));
    return text;
  }

  /** How text of people's making travels as a parameter. No database but MySQL stores a NUL in text. */
  text(value: string): string | Uint8Array {
    return value.replaceAll('\0', '\uFFFD');
  }

  /** All that is read of a row. */
  protected get columns(): string {
    return `id, scope, ${this.quotedKey}, fingerprint, state, attempt, token, fence, lease_until, status,
            headers, body, created_at, completed_at, expires_at, ${this.now} AS now`;
  }

  /**
   * The first half of a claim: the row as it would be if there were none. Followed by the database's own form of
   * "if there is one, then …". Parameters: `insertParameters`.
   */
  protected get insertColumnsAndValues(): string {
    return `(id, scope, ${this.quotedKey}, fingerprint, state, attempt, token, fence, lease_until, created_at)
            VALUES (?, ?, ?, ?, 'running', 1, ?, ${this.micros}, ${this.now} + ?, ${this.now})`;
  }

  protected insertParameters(request: ClaimRequest): Parameter[] {
    const { id, scope, key, fingerprint, token, leaseMs } = request;
    return [id, this.text(scope), this.text(key), fingerprint, token, leaseMs];
  }

  /** When the row that is there may be taken: it expired, it is the caller's already, or it is free for his payload. */
  protected takeable(takeOrphan: boolean): string {
    const { old, fresh } = this.grammar;
    const unowned = takeOrphan
      ? `(${old('token')} IS NULL OR ${old('lease_until')} <= ${this.now})`
      : `${old('token')} IS NULL`;
    return `(${this.isExpired} OR ${this.isOwn}
             OR (${old('state')} = 'running' AND ${old('fingerprint')} = ${fresh('fingerprint')} AND ${unowned}))`;
  }

  /**
   * What a row that is taken becomes. An expired one starts anew, one the caller has already (his claim is sent
   * again) stays as it is, any other goes to its next attempt.
   *
   * The order matters to MySQL, which evaluates assignments from left to right and with values already
   * assigned. Columns no condition looks at come first, and after `state` and `token` are assigned the row
   * counts as the caller's own. So every condition gives the same before, after, and where all
   * assignments see the old row (PostgreSQL, SQLite, MariaDB with SIMULTANEOUS_ASSIGNMENT).
   */
  protected get assignments(): [column: string, value: string][] {
    const { old, fresh } = this.grammar;
    return [
      [
        'attempt',
        `CASE WHEN ${this.isExpired} THEN 1 WHEN ${this.isOwn} THEN ${old('attempt')} ELSE ${old('attempt')} + 1 END`,
      ],
      [
        'fence',
        `CASE WHEN ${this.isOwn} THEN ${old('fence')}
              ELSE ${this.database.greatest}(${old('fence')} + 1, ${fresh('fence')}) END`,
      ],
      ['created_at', `CASE WHEN ${this.isExpired} THEN ${fresh('created_at')} ELSE ${old('created_at')} END`],
      ['status', 'NULL'],
      ['headers', 'NULL'],
      ['body', 'NULL'],
      ['completed_at', 'NULL'],
      ['state', fresh('state')],
      ['token', fresh('token')],
      ['fingerprint', fresh('fingerprint')],
      ['lease_until', fresh('lease_until')],
      ['expires_at', 'NULL'],
    ];
  }

  private get isExpired(): string {
    return `${this.grammar.old('expires_at')} <= ${this.now}`;
  }

  private get isOwn(): string {
    const { old, fresh } = this.grammar;
    return `(${old('state')} = 'running' AND ${old('token')} = ${fresh('token')})`;
  }

  /**
   * Rows the sweep may take. That the invariant is checked again costs nothing and nobody's answer. A row whose
   * fence is ahead of the clock stays, as a new row under its id would get a smaller one.
   */
  protected get isSweepable(): string {
    return `expires_at <= (SELECT ${this.now}) AND fence < (SELECT ${this.micros})
            AND (state = 'completed' OR (state = 'running' AND token IS NULL))`;
  }

  /** SQL of the database's clock: milliseconds since 1970 as an integer. */
  get now(): string {
    return this.database.now;
  }

  /** The same in microseconds. */
  protected get micros(): string {
    return this.database.micros;
  }

  /** The same, for any rows. */
  protected readonly alone: Run = (sql, parameters) => this.database.run(sql, parameters);

  /** One statement outside of any transaction of the application's. `?` stands for a parameter. */
  protected run(sql: string, parameters: readonly Parameter[]): Promise<Result<Row>> {
    return this.database.run<Row>(sql, parameters);
  }
}

/** A view as Buffer, which every client library takes. */
export function bytes(view: Uint8Array): Buffer {
  return Buffer.from(view.buffer, view.byteOffset, view.byteLength);
}
