import type { DataSource } from 'typeorm';
import type { ClaimRef, ClaimRequest, StoredResponse } from '../../result-store.js';
import { Dialect, IS_RUNNING, type Parameter, type Result, type Row, property } from './dialect.js';

/** What is used of a pooled connection of `mysql2`. */
interface Connection {
  query(
    options: object,
    callback: (error: Error | null, result: Row[] | { affectedRows: number }) => void,
  ): void;
  release(): void;
}

interface Capabilities {
  /** INSERT … RETURNING: MariaDB 10.5. */
  readonly returning: boolean;
  /** FOR UPDATE SKIP LOCKED: MySQL 8.0.1, MariaDB 10.6. */
  readonly skipLocked: boolean;
}

const TRANSIENT = [1205, 1213]; // ER_LOCK_WAIT_TIMEOUT and ER_LOCK_DEADLOCK: nothing of the statement was done
const SCHEMA_MISSING = [1146, 1054]; // ER_NO_SUCH_TABLE, ER_BAD_FIELD_ERROR

/** Alternatives in one WHERE up to which both optimizers look rows up by the primary key. */
const RENEW_AT_ONCE = 500;

/**
 * MySQL 5.7 and later and MariaDB 10.2 and later. Statements run on connections of the DataSource's (master) pool in
 * autocommit, never on the application's.
 */
export class MysqlDialect extends Dialect {
  // UTC_TIMESTAMP is the beginning of the statement in UTC, whatever the session's time zone.
  protected readonly now = `TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000`;
  protected readonly micros = `TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))`;
  protected readonly grammar = {
    old: (column: string) => column,
    fresh: (column: string) => `VALUES(${column})`,
  };
  #capabilities: Promise<Capabilities> | undefined;

  constructor(
    table: string,
    private readonly dataSource: DataSource,
    private readonly returning = true,
  ) {
    super(table, '`key`');
  }

  /**
   * Inserts, or locks the row that is there and sets every column: to what it becomes if the row may be taken, else
   * to what it is. With RETURNING that is all. MySQL has to read the row afterwards; by then it may be
   * somebody else's, and that is what it says.
   *
   * FOR UPDATE sees what was committed last, and keeps a read/write splitting proxy from asking a replica.
   */
  async claim(request: ClaimRequest): Promise<Row | undefined> {
    const { returning } = await this.#canDo();
    const takeable = this.takeable(request.takeOrphan);
    const upsert = `INSERT INTO ${this.table} ${this.insertColumnsAndValues}
       ON DUPLICATE KEY UPDATE
       ${this.assignments.map(([column, value]) => `${column} = IF(${takeable}, ${value}, ${column})`).join(',\n')}`;
    const parameters = this.insertParameters(request);
    if (returning) return (await this.run(`${upsert} RETURNING ${this.columns}`, parameters)).rows[0];
    await this.run(upsert, parameters);
    const read = `SELECT ${this.columns} FROM ${this.table} WHERE id = ? FOR UPDATE`;
    return (await this.run(read, [request.id])).rows[0];
  }

  /** With CLIENT_FOUND_ROWS off, a row that is set to what it was already does not count. */
  override async complete(
    id: string,
    token: string,
    response: StoredResponse,
    retentionMs: number,
  ): Promise<boolean> {
    if (await super.complete(id, token, response, retentionMs)) return true;
    const row = await this.find(id);
    return row?.state === 'completed' && row.token === token;
  }

  async renew(claims: readonly ClaimRef[], leaseMs: number): Promise<boolean[]> {
    const answers: boolean[] = [];
    for (let from = 0; from < claims.length; from += RENEW_AT_ONCE) {
      answers.push(...(await this.#renewSome(claims.slice(from, from + RENEW_AT_ONCE), leaseMs)));
    }
    return answers;
  }

  /** One statement if all claims are the caller's still, as nearly always; else a second one tells which. */
  async #renewSome(claims: readonly ClaimRef[], leaseMs: number): Promise<boolean[]> {
    const mine = claims.map(() => '(id = ? AND token = ?)').join(' OR ');
    const parameters = claims.flatMap(({ id, token }) => [id, token]);
    const { affected } = await this.run(
      `UPDATE ${this.table} SET lease_until = ${this.now} + ? WHERE (${mine}) AND ${IS_RUNNING}`,
      [leaseMs, ...parameters],
    );
    if (affected === claims.length) return claims.map(() => true);
    const read = `SELECT id, token FROM ${this.table} WHERE (${mine}) AND ${IS_RUNNING} FOR UPDATE`;
    const renewed = new Map((await this.run(read, parameters)).rows.map(({ id, token }) => [id, token]));
    return claims.map(({ id, token }) => renewed.get(id) === token);
  }

  /** STRAIGHT_JOIN: the few that were found come first. The other way round the whole table would be locked. */
  async sweep(limit: number): Promise<number> {
    const { skipLocked } = await this.#canDo();
    const expired = `FROM ${this.table} WHERE ${this.isSweepable} ORDER BY expires_at LIMIT ?`;
    const { affected } = await this.run(
      skipLocked
        ? `DELETE r FROM (SELECT id ${expired} FOR UPDATE SKIP LOCKED) AS e
           STRAIGHT_JOIN ${this.table} AS r ON r.id = e.id`
        : `DELETE ${expired}`,
      [limit],
    );
    return affected;
  }

  isSchemaMissing(error: unknown): boolean {
    return SCHEMA_MISSING.includes(Number(property(error, 'errno')));
  }

  protected isTransient(error: unknown): boolean {
    return TRANSIENT.includes(Number(property(error, 'errno')));
  }

  /** As bytes it is sent in hexadecimal: no character set of the connection loses any, and no SQL mode unquotes it. */
  protected override text(value: string): Uint8Array {
    return Buffer.from(super.text(value));
  }

  protected async execute(sql: string, values: readonly Parameter[]): Promise<Result> {
    const result = await this.#query<Row[] | { affectedRows: number }>(sql, values);
    return Array.isArray(result)
      ? { rows: result, affected: result.length }
      : { rows: [], affected: result.affectedRows };
  }

  async #query<T>(sql: string, values: readonly Parameter[]): Promise<T> {
    const { driver } = this.dataSource as unknown as {
      driver: { obtainMasterConnection(): Promise<Connection> };
    };
    const connection = await driver.obtainMasterConnection();
    try {
      return await new Promise<T>((resolve, reject) => {
        // Whatever the application has set for its own queries (typeCast, rowsAsArray, …) is not for these.
        const plain = { typeCast: true, rowsAsArray: false, nestTables: false, bigNumberStrings: true };
        connection.query({ sql, values, supportBigNumbers: true, ...plain }, (error, result) =>
          error ? reject(error) : resolve(result as T),
        );
      });
    } finally {
      connection.release();
    }
  }

  #canDo(): Promise<Capabilities> {
    this.#capabilities ??= this.#ask().catch((error: unknown) => {
      this.#capabilities = undefined;
      throw error;
    });
    return this.#capabilities;
  }

  async #ask(): Promise<Capabilities> {
    const sql = 'SELECT VERSION() AS version, @@autocommit AS autocommit';
    const [row] = await this.#query<{ version: string; autocommit: number | string }[]>(sql, []);
    if (!row || Number(row.autocommit) !== 1) {
      throw new Error(
        'The pool has connections with autocommit off: claims would never be committed. Turn it on, or give the store a DataSource of its own',
      );
    }
    const isMariaDb = /mariadb/i.test(row.version);
    const [major = 0, minor = 0, patch = 0] = row.version.split(/[.-]/).map(Number);
    const version = major * 10_000 + minor * 100 + patch;
    return {
      returning: this.returning && isMariaDb && version >= 10_05_00,
      skipLocked: version >= (isMariaDb ? 10_06_00 : 8_00_01),
    };
  }
}
