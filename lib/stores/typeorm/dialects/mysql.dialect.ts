import type { MysqlDatabase } from '../../../sql/mysql.database.js';
import type { ClaimRef, ClaimRequest, StoredResponse } from '../../result-store.js';
import { Dialect, IS_RUNNING, type Row } from './dialect.js';

/** Alternatives in one WHERE up to which both optimizers look rows up by the primary key. */
const RENEW_AT_ONCE = 500;

export class MysqlDialect extends Dialect {
  protected readonly grammar = {
    old: (column: string) => column,
    fresh: (column: string) => `VALUES(${column})`,
  };

  constructor(
    table: string,
    readonly database: MysqlDatabase,
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
    const { returning } = await this.database.canDo();
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
    const { skipLocked } = await this.database.canDo();
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

  /** As bytes it is sent in hexadecimal: no character set of the connection loses any, and no SQL mode unquotes it. */
  protected override text(value: string): Uint8Array {
    return Buffer.from(super.text(value));
  }
}
