import { FENCE_LEAD_MS } from '../../lock-driver.js';
import type { Integer, Parameter, Result, SqlDatabase, Wanted } from '../../../sql/sql-database.js';

/** A lock's row as the client libraries give it, with the database's clock at that moment. */
export interface Row {
  readonly id: string;
  readonly token: string | null;
  readonly fence: Integer;
  readonly free_at: Integer;
  readonly now: Integer;
  /** The greatest fence of those that were swept. */
  readonly floor: Integer | null;
}

export interface Attempt {
  readonly id: string;
  readonly token: string;
  readonly ttlMs: number;
  /** How long others have to wait after the lock ran out. */
  readonly delayMs: number;
  /** What the fence should be if the clock is not far behind it; 0: the clock alone tells. */
  readonly leastFence: number;
  readonly wanted: Wanted;
}

export interface HeldLock {
  readonly id: string;
  readonly token: string;
}

/** What differs between databases in SQL text. `old` is the row there is, `fresh` the one that was to be inserted. */
interface Grammar {
  readonly old: (column: string) => string;
  readonly fresh: (column: string) => string;
}

/** What a row has, in the order it is inserted in. */
export const COLUMNS = '(id, token, fence, until, free_at, wake_until)';
/** The row that remembers the greatest fence of those that were swept. It is no lock's: those have hashes. */
const FLOOR_ID = 'floor';
/** The lock under which one process sweeps. */
export const SWEEP_ID = 'sweep';
/** Free in the year 287396: never swept. */
const NEVER = Number.MAX_SAFE_INTEGER;
/** A lock is not swept before it has been free for so many milliseconds. */
const GRACE_MS = 60_000;

/**
 * The statements of `SqlLock`, one a purpose, each atomic by itself and decided by the database's clock.
 *
 * A row is a lock that is held, has run out or was released (`token` is NULL). Only the sweep deletes rows.
 *
 * Fences: a holder's is greater than the row's before, and not less than the database's clock in microseconds. So
 * they grow while a row is there whatever the clock does, and after the table was lost as long as the clock
 * is right. A row that is swept is survived by the floor, one row with the greatest fence that ever was swept: a
 * holder who finds his fence not above it lifts it. A sequence would be cheaper to explain, but not every
 * database has one, `synchronize` does not make it, a restored backup sets it back, and drawn within the
 * statement it gives a smaller number to the later holder when the statement had to wait for the row.
 * (Microseconds are exact as a JavaScript number until the year 2255.)
 */
export abstract class Dialect {
  /** The database it speaks to. */
  abstract readonly database: SqlDatabase;
  protected abstract readonly grammar: Grammar;

  /** @param table where the table is, quoted. */
  constructor(protected readonly table: string) {}

  /** The row as it is after an attempt. The caller has the lock if his token is in it. */
  abstract acquire(attempt: Attempt): Promise<Row | undefined>;

  /** Prolongs what has not run out under its token, and answers in order. */
  abstract extend(locks: readonly HeldLock[], ttlMs: number, delayMs: number): Promise<boolean[]>;

  /** Gives a holder at least this fence. */
  async lift(id: string, token: string, fence: number): Promise<void> {
    await this.run(
      `UPDATE ${this.table} SET fence = ${this.database.greatest}(fence, ?) WHERE id = ? AND token = ?`,
      [fence, id, token],
    );
  }

  /** Deletes rows of locks that are free, up to this fence: one statement which looks again once it has the row's lock. */
  abstract deleteFree(limit: number, upToFence: number): Promise<number>;

  /** Inserts this row, or raises the fence of the one that is there. */
  protected abstract raise(row: Parameter[]): Promise<unknown>;

  /** Sees to it that no swept row's fence will be given again. */
  async raiseFloor(fence: number): Promise<void> {
    await this.raise([FLOOR_ID, null, fence, 0, NEVER, 0]);
  }

  /** Sees to it that whoever gets this lock from now on has a greater fence. */
  async raiseFence(id: string, fence: number): Promise<void> {
    await this.raise([id, null, fence, 0, 0, 0]);
  }

  async release(id: string, token: string): Promise<boolean> {
    const { affected } = await this.run(
      `UPDATE ${this.table} SET token = NULL, free_at = ${this.now}
       WHERE id = ? AND token = ? AND until > ${this.now}`,
      [id, token],
    );
    return affected > 0;
  }

  /** The greatest fence of those which `deleteFree` would delete; undefined when there is nothing to delete. */
  async greatestFreeFence(limit: number): Promise<number | undefined> {
    const { rows } = await this.run<{ fence: Integer | null }>(
      `SELECT MAX(fence) AS fence FROM (
         SELECT fence FROM ${this.table} WHERE ${this.isSweepable} ORDER BY free_at LIMIT ?
       ) AS e`,
      [limit],
    );
    const fence = rows[0]?.fence ?? undefined;
    return fence === undefined ? undefined : Number(fence);
  }

  protected get now(): string {
    return this.database.now;
  }

  protected run<R = Row>(sql: string, parameters: readonly Parameter[], wanted?: Wanted): Promise<Result<R>> {
    return this.database.run<R>(sql, parameters, wanted);
  }

  /** All that is read of a row. The floor comes along, so that to look at it is no round trip. */
  protected get columns(): string {
    return `id, token, fence, free_at, ${this.now} AS now,
            (SELECT f.fence FROM ${this.table} AS f WHERE f.id = '${FLOOR_ID}') AS floor`;
  }

  /** The row as it would be if there were none, in the order of `COLUMNS`. Parameters: `freshParameters`. */
  protected get freshValues(): string {
    const { micros, greatest, least } = this.database;
    const fence = `${greatest}(${micros}, ${least}(?, ${micros} + ${FENCE_LEAD_MS} * 1000))`;
    return `?, ?, ${fence}, ${this.now} + ?, ${this.now} + ?, 0`;
  }

  protected freshParameters({ id, token, leastFence, ttlMs, delayMs }: Attempt): Parameter[] {
    return [id, token, leastFence, ttlMs, ttlMs + delayMs];
  }

  /** Whether the row that is there may be taken. The caller's own is: his attempt is sent again. */
  protected get takeable(): string {
    const { old } = this.grammar;
    return `(${old('token')} IS NULL OR ${this.isOwn} OR ${old('free_at')} <= ${this.now})`;
  }

  /**
   * What a row that is taken becomes.
   *
   * The order matters to MySQL, which evaluates assignments from left to right and with values already
   * assigned: once `token` is, the row counts as the caller's own and `takeable` stays true.
   */
  protected get assignments(): [column: string, value: string][] {
    const { old, fresh } = this.grammar;
    const { greatest } = this.database;
    return [
      [
        'fence',
        `CASE WHEN ${this.isOwn} THEN ${old('fence')} ELSE ${greatest}(${old('fence')} + 1, ${fresh('fence')}) END`,
      ],
      ['token', fresh('token')],
      ['until', fresh('until')],
      ['free_at', fresh('free_at')],
    ];
  }

  /** Not NULL where `token` is, for MySQL's `IF`. */
  private get isOwn(): string {
    const { old, fresh } = this.grammar;
    return `COALESCE(${old('token')} = ${fresh('token')}, FALSE)`;
  }

  /**
   * Locks that have been free for a while. Not those whose fence is ahead of the clock: the clock went
   * back, and who began to insert a row just before the floor was raised knows but the clock.
   */
  protected get isSweepable(): string {
    return `free_at < (SELECT ${this.now}) - ${GRACE_MS}
            AND fence < (SELECT ${this.database.micros}) - ${GRACE_MS} * 1000`;
  }
}
