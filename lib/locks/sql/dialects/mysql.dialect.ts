import type { Parameter } from '../../../sql/sql-database.js';
import type { MysqlDatabase } from '../../../sql/mysql.database.js';
import { type Attempt, COLUMNS, Dialect, type HeldLock, type Row } from './dialect.js';

/** How long a statement waits for a row somebody has locked, in seconds. Nobody should have it for more than an instant. */
const ROW_WAIT_SECONDS = 2;
/** Alternatives in one WHERE up to which both optimizers look rows up by the primary key. */
const EXTEND_AT_ONCE = 500;

export class MysqlDialect extends Dialect {
  protected readonly grammar = {
    old: (column: string) => column,
    fresh: (column: string) => `VALUES(${column})`,
  };

  constructor(
    table: string,
    readonly database: MysqlDatabase,
  ) {
    super(table);
  }

  /**
   * Inserts, or locks the row that is there and sets every column: to what it becomes if the row may be taken, else
   * to what it is. With RETURNING that is all. MySQL has to read the row afterwards; by then it may be
   * somebody else's, and that is what it says.
   *
   * FOR UPDATE sees what was committed last, and keeps a read/write splitting proxy from asking a replica.
   */
  async acquire(attempt: Attempt): Promise<Row | undefined> {
    const { returning, setStatement } = await this.database.canDo();
    const impatiently = setStatement
      ? `SET STATEMENT innodb_lock_wait_timeout = ${ROW_WAIT_SECONDS} FOR `
      : '';
    const upsert = `${impatiently}INSERT INTO ${this.table} ${COLUMNS} VALUES (${this.freshValues})
       ON DUPLICATE KEY UPDATE
       ${this.assignments.map(([column, value]) => `${column} = IF(${this.takeable}, ${value}, ${column})`).join(',\n')}`;
    const parameters = this.freshParameters(attempt);
    if (returning) {
      const { rows } = await this.run(`${upsert} RETURNING ${this.columns}`, parameters, attempt.wanted);
      return this.#own(attempt, rows[0]);
    }
    await this.run(upsert, parameters, attempt.wanted);
    const read = `SELECT ${this.columns} FROM ${this.table} WHERE id = ? FOR UPDATE`;
    return this.#own(attempt, (await this.run(read, [attempt.id], attempt.wanted)).rows[0]);
  }

  /** ON DUPLICATE KEY goes for any unique index, also for one that somebody has added: another lock's row is no answer. */
  #own({ id }: Attempt, row: Row | undefined): Row {
    if (row?.id === id) return row;
    throw new Error('The row of this lock is not there. Is there a unique index besides the primary key?');
  }

  async extend(locks: readonly HeldLock[], ttlMs: number, delayMs: number): Promise<boolean[]> {
    const answers: boolean[] = [];
    for (let from = 0; from < locks.length; from += EXTEND_AT_ONCE) {
      answers.push(...(await this.#extendSome(locks.slice(from, from + EXTEND_AT_ONCE), ttlMs, delayMs)));
    }
    return answers;
  }

  /** One statement if all locks are the caller's still, as nearly always; else a second one tells which. */
  async #extendSome(locks: readonly HeldLock[], ttlMs: number, delayMs: number): Promise<boolean[]> {
    const mine = locks.map(() => '(id = ? AND token = ?)').join(' OR ');
    const parameters = locks.flatMap(({ id, token }) => [id, token]);
    const { affected } = await this.run(
      `UPDATE ${this.table} SET until = ${this.now} + ?, free_at = ${this.now} + ?
       WHERE (${mine}) AND until > ${this.now}`,
      [ttlMs, ttlMs + delayMs, ...parameters],
    );
    if (affected === locks.length) return locks.map(() => true);
    const read = `SELECT id, token FROM ${this.table} WHERE (${mine}) AND until > ${this.now} FOR UPDATE`;
    const extended = new Map((await this.run(read, parameters)).rows.map(({ id, token }) => [id, token]));
    return locks.map(({ id, token }) => extended.get(id) === token);
  }

  /** STRAIGHT_JOIN: the few that were found come first. The other way round the whole table would be locked. */
  async deleteFree(limit: number, upToFence: number): Promise<number> {
    const { skipLocked } = await this.database.canDo();
    const free = `FROM ${this.table} WHERE ${this.isSweepable} AND fence <= ? ORDER BY free_at LIMIT ?`;
    const { affected } = await this.run(
      skipLocked
        ? `DELETE r FROM (SELECT id ${free} FOR UPDATE SKIP LOCKED) AS e
           STRAIGHT_JOIN ${this.table} AS r ON r.id = e.id`
        : `DELETE ${free}`,
      [upToFence, limit],
    );
    return affected;
  }

  protected raise(row: Parameter[]): Promise<unknown> {
    return this.run(
      `INSERT INTO ${this.table} ${COLUMNS} VALUES (?, ?, ?, ?, ?, ?)
       ON DUPLICATE KEY UPDATE fence = GREATEST(fence, VALUES(fence))`,
      row,
    );
  }
}
