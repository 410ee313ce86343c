import type { MysqlDatabase } from '../../../sql/mysql.database.js';
import type { Run } from '../../../sql/sql-database.js';
import type { ClaimRef, ClaimRequest, StoredResponse } from '../../result-store.js';
import type { StepRecord } from '../../step-store.js';
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
    stepTable: string,
    readonly database: MysqlDatabase,
  ) {
    super(table, stepTable, '`key`');
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

  /** Likewise. In a transaction there is nothing of an earlier try. */
  override async recordStep(
    id: string,
    token: string,
    step: StepRecord,
    run: Run = this.alone,
  ): Promise<boolean> {
    if (await super.recordStep(id, token, step, run)) return true;
    if (run !== this.alone) return false;
    const row = await this.find(id);
    if (row?.state !== 'running' || row.token !== token) return false;
    return (await this.steps(id)).rows.some(({ name }) => name === step.name);
  }

  /** Keeps a read/write splitting proxy from asking a replica: what it does not know yet would be done twice. */
  protected override readonly readLock = 'FOR UPDATE';

  protected override onStepThere(columns: readonly string[]): string {
    return `ON DUPLICATE KEY UPDATE ${columns.map((column) => `${column} = VALUES(${column})`).join(', ')}`;
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

  /**
   * STRAIGHT_JOIN: the few that were found come first. The other way round the whole table would be locked. And once
   * they are locked they need no second look, which would lock more.
   *
   * Steps go with their records, and MySQL counts both: a batch with steps may look fuller than it was, which costs
   * one more look.
   */
  async sweep(limit: number): Promise<number> {
    const { skipLocked } = await this.database.canDo();
    const { affected } = await this.run(
      `DELETE r, s
       FROM (SELECT id FROM ${this.table} WHERE ${this.isSweepable} ORDER BY expires_at LIMIT ?
             ${skipLocked ? 'FOR UPDATE SKIP LOCKED' : ''}) AS e
       STRAIGHT_JOIN ${this.table} AS r ON r.id = e.id
       LEFT JOIN ${this.stepTable} AS s ON s.record_id = r.id
       ${skipLocked ? '' : `WHERE ${this.isSweepable}`}`,
      [limit],
    );
    return Math.min(affected, limit);
  }

  /** As bytes it is sent in hexadecimal: no character set of the connection loses any, and no SQL mode unquotes it. */
  override text(value: string): Uint8Array {
    return Buffer.from(super.text(value));
  }
}
