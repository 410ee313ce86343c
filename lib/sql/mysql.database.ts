import type { DataSource } from 'typeorm';
import {
  answered,
  CalledOffError,
  type Lent,
  type Parameter,
  property,
  type Result,
  SqlDatabase,
  type SqlStatement,
  type Wanted,
} from './sql-database.js';

/** What is used of a pooled connection of `mysql2`. */
interface Connection {
  query(options: object, callback: (error: Error | null, result: Reply) => void): void;
  release(): void;
  destroy(): void;
}

type Reply = unknown[] | { affectedRows: number };

interface Capabilities {
  /** INSERT … RETURNING: MariaDB 10.5. */
  readonly returning: boolean;
  /** FOR UPDATE SKIP LOCKED: MySQL 8.0.1, MariaDB 10.6. */
  readonly skipLocked: boolean;
  /** SET STATEMENT … FOR: MariaDB 10.1. */
  readonly setStatement: boolean;
}

const TRANSIENT = [1205, 1213]; // ER_LOCK_WAIT_TIMEOUT and ER_LOCK_DEADLOCK: nothing of the statement was done
const CONFLICT = [...TRANSIENT, 1020]; // ER_CHECKREAD: the row is of after the transaction's snapshot (MariaDB)
const SCHEMA_MISSING = [1146, 1054]; // ER_NO_SUCH_TABLE, ER_BAD_FIELD_ERROR
const GOODBYE = [1053, 1927]; // ER_SERVER_SHUTDOWN, ER_CONNECTION_KILLED (MariaDB)
const BROKEN = /^(PROTOCOL_CONNECTION_LOST|ECONNRESET|EPIPE)$/;

/**
 * MySQL 5.7 and later and MariaDB 10.2 and later. Statements run on connections of the DataSource's (master) pool in
 * autocommit, never on the application's.
 */
export class MysqlDatabase extends SqlDatabase {
  // UTC_TIMESTAMP is the beginning of the statement in UTC, whatever the session's time zone.
  readonly now = `TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000`;
  readonly micros = `TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))`;
  #capabilities: Promise<Capabilities> | undefined;

  /**
   * @param mariaDb false: does without what only MariaDB has.
   * @param answerMs a connection that has not answered for so long is given up.
   */
  constructor(
    private readonly dataSource: DataSource,
    private readonly mariaDb = true,
    private readonly answerMs?: number,
  ) {
    super();
  }

  isSchemaMissing(error: unknown): boolean {
    return SCHEMA_MISSING.includes(Number(property(error, 'errno')));
  }

  isDisconnect(error: unknown): boolean {
    return GOODBYE.includes(Number(property(error, 'errno'))) || BROKEN.test(String(property(error, 'code')));
  }

  /** What the server can do, asked once. */
  canDo(): Promise<Capabilities> {
    this.#capabilities ??= this.#ask().catch((error: unknown) => {
      this.#capabilities = undefined;
      throw error;
    });
    return this.#capabilities;
  }

  override isConflict(error: unknown): boolean {
    return CONFLICT.includes(Number(property(error, 'errno')));
  }

  /** A deadlock rolls back all of a transaction, a time-out maybe; and from then on statements commit by themselves. */
  override endsTransaction(error: unknown): boolean {
    return this.isConflict(error);
  }

  async lend(): Promise<Lent> {
    const runner = this.dataSource.createQueryRunner('master');
    const connection = (await runner.connect()) as Pick<Connection, 'destroy'>;
    const giveBack = async (isBroken: boolean) => {
      if (isBroken) connection.destroy();
      else await runner.release();
    };
    return { runner, giveBack };
  }

  /** The default is REPEATABLE READ, under which a renewal of the claim may count as a conflict (MariaDB 11.6). */
  async leastIsolation(): Promise<'READ COMMITTED'> {
    return 'READ COMMITTED';
  }

  protected isTransient(error: unknown): boolean {
    return TRANSIENT.includes(Number(property(error, 'errno')));
  }

  protected async execute<R>(sql: string, values: readonly Parameter[], wanted?: Wanted): Promise<Result<R>> {
    const result = await this.#query(sql, values, wanted);
    return Array.isArray(result)
      ? { rows: result as R[], affected: result.length }
      : { rows: [], affected: result.affectedRows };
  }

  protected async executeTogether(statements: readonly SqlStatement[]): Promise<boolean> {
    const connection = await this.#connection();
    let isOver = false;
    try {
      await replyOf(connection, 'START TRANSACTION', []);
      let isWhole = true;
      for (const { sql, parameters } of statements) {
        const result = await replyOf(connection, sql, parameters);
        if (!(isWhole = Array.isArray(result) || result.affectedRows > 0)) break;
      }
      await replyOf(connection, isWhole ? 'COMMIT' : 'ROLLBACK', []);
      isOver = true;
      return isWhole;
    } finally {
      // After an error the connection is given up, and with it its transaction.
      if (isOver) connection.release();
      else connection.destroy();
    }
  }

  async #query(sql: string, values: readonly Parameter[], wanted?: Wanted): Promise<Reply> {
    const connection = await this.#connection();
    let isSilent = false;
    try {
      if (wanted?.() === false) throw new CalledOffError();
      const reply = replyOf(connection, sql, values, () => (isSilent = false));
      isSilent = true;
      return await answered(reply, this.answerMs);
    } finally {
      if (isSilent) connection.destroy();
      else connection.release();
    }
  }

  #connection(): Promise<Connection> {
    const { driver } = this.dataSource as unknown as {
      driver: { obtainMasterConnection(): Promise<Connection> };
    };
    return driver.obtainMasterConnection();
  }

  async #ask(): Promise<Capabilities> {
    const sql = 'SELECT VERSION() AS version, @@autocommit AS autocommit';
    const [row] = (await this.#query(sql, [])) as { version: string; autocommit: number | string }[];
    if (!row || Number(row.autocommit) !== 1) {
      throw new Error(
        'The pool has connections with autocommit off: nothing would ever be committed.' +
          ' Turn it on, or give a DataSource of its own',
      );
    }
    const isMariaDb = /mariadb/i.test(row.version);
    const [major = 0, minor = 0, patch = 0] = row.version.split(/[.-]/).map(Number);
    const version = major * 10_000 + minor * 100 + patch;
    return {
      returning: this.mariaDb && isMariaDb && version >= 10_05_00,
      skipLocked: version >= (isMariaDb ? 10_06_00 : 8_00_01),
      setStatement: this.mariaDb && isMariaDb && version >= 10_01_02,
    };
  }
}

function replyOf(
  connection: Connection,
  sql: string,
  values: readonly Parameter[],
  settled?: () => void,
): Promise<Reply> {
  return new Promise<Reply>((resolve, reject) => {
    // Whatever the application has set for its own queries (typeCast, rowsAsArray, …) is not for these.
    const typeCast = (_field: unknown, next: () => unknown) => next();
    const plain = { typeCast, rowsAsArray: false, nestTables: false, bigNumberStrings: true };
    connection.query({ sql, values, supportBigNumbers: true, ...plain }, (error, result) => {
      settled?.();
      if (error) reject(error);
      else resolve(result);
    });
  });
}
