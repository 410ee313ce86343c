import type { DataSource, EntitySubscriberInterface, QueryRunner } from 'typeorm';
import {
  CalledOffError,
  type Lent,
  type Parameter,
  property,
  type Result,
  SqlDatabase,
  type SqlStatement,
  type Wanted,
} from './sql-database.js';

/** What is used of a `better-sqlite3` database. */
interface Database {
  readonly open: boolean;
  /** The connection's own word, whoever began the transaction. */
  readonly inTransaction: boolean;
  prepare(sql: string): Statement;
  exec(sql: string): void;
  pragma(sql: string): unknown;
}

interface Statement {
  readonly reader: boolean;
  all(...parameters: readonly unknown[]): unknown[];
  run(...parameters: readonly unknown[]): { changes: number };
}

export type RunInTransaction = <R>(sql: string, parameters: readonly Parameter[]) => Result<R>;

/** One unit of work in the queue. Returns false while it is not its moment. */
type Attempt = () => boolean;

/** How long a statement waits for the application's transaction, or for another process that writes. */
const PATIENCE_MS = 3_000;

const databases = new WeakMap<DataSource, SqliteDatabase>();

/** What store and lock on one DataSource share: one line. */
export function sqliteDatabaseOf(dataSource: DataSource): SqliteDatabase {
  let database = databases.get(dataSource);
  if (!database) databases.set(dataSource, (database = new SqliteDatabase(dataSource)));
  return database;
}

/**
 * SQLite 3.42 and later through the API of `better-sqlite3`, which is synchronous.
 *
 * TypeORM has one connection per DataSource, and whatever it executes while the application has a transaction open
 * belongs to that transaction and is rolled back with it. So these statements go to the native handle at a
 * moment when it is in no transaction, and begin, run and commit one of their own within that moment: nothing
 * of the application's can come between. If there is no such moment they wait for it, in order of arrival.
 */
export class SqliteDatabase extends SqlDatabase {
  readonly now = `CAST(round(unixepoch('subsec') * 1000) AS INTEGER)`;
  readonly micros = `${this.now} * 1000`;
  override readonly greatest = 'max';
  override readonly least = 'min';
  /** A transaction has the whole database. */
  override readonly forUpdate = '';
  readonly #prepared = new WeakMap<Database, Map<string, Statement>>();
  readonly #queue: Attempt[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** Somebody has the connection for a transaction of many moments. */
  #isTaken = false;
  #subscriber: EntitySubscriberInterface = {
    afterTransactionCommit: () => this.#drain(),
    afterTransactionRollback: () => this.#drain(),
  };

  constructor(private readonly dataSource: DataSource) {
    super();
  }

  isSchemaMissing(error: unknown): boolean {
    return /no such (table|column)|has no column named/.test(String(property(error, 'message')));
  }

  /** There is none to break. */
  isDisconnect(): boolean {
    return false;
  }

  /** Does `work` in a transaction of its own, now or when its turn comes. */
  atomically<T>(work: (run: RunInTransaction) => T, wanted?: Wanted): Promise<T> {
    return this.#inTurn((database) => transaction(database, () => work(this.#runOn(database))), wanted);
  }

  /** Everything else waits, in order, until the returned function is called. */
  async occupy(): Promise<() => void> {
    await this.#inTurn(() => {
      this.#isTaken = true;
    });
    return () => {
      if (!this.#isTaken) return;
      this.#isTaken = false;
      this.#drain();
    };
  }

  override readonly isParallel = false;

  override isConflict(error: unknown): boolean {
    return isBusy(error);
  }

  /**
   * Not TypeORM's one runner, which others use at the same time: they would count each other's transactions. This one's
   * BEGIN and COMMIT are real. Whoever begins another one meanwhile, past `occupy`, is told by SQLite.
   */
  async lend(): Promise<Lent> {
    const release = await this.occupy();
    const shared = this.dataSource.createQueryRunner();
    const Runner = shared.constructor as new (driver: unknown) => QueryRunner;
    const giveBack = async () => {
      const database = this.#database();
      if (database.open && database.inTransaction) database.exec('ROLLBACK');
      release();
    };
    return { runner: new Runner(this.dataSource.driver), giveBack };
  }

  /** It knows nothing less than serializable. */
  async leastIsolation(): Promise<undefined> {
    return undefined;
  }

  #inTurn<T>(work: (database: Database) => T, wanted?: Wanted): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const giveUpAt = performance.now() + PATIENCE_MS;
      this.#queue.push(() => {
        const isLate = performance.now() > giveUpAt;
        try {
          const database = this.#database();
          if (wanted?.() === false) reject(new CalledOffError());
          // libsql ends the process when a closed database is asked for anything else.
          else if (!database.open) reject(new Error('The DataSource was destroyed'));
          else if (!this.#isTaken && !database.inTransaction) resolve(work(database));
          else if (isLate) reject(new Error(OCCUPIED));
          else return false;
        } catch (error) {
          if (isBusy(error) && !isLate) return false;
          reject(error);
        }
        return true;
      });
      if (this.#queue.length === 1) this.#drain();
    });
  }

  /** `atomically` has waited already. */
  protected isTransient(): boolean {
    return false;
  }

  protected execute<R>(sql: string, parameters: readonly Parameter[], wanted?: Wanted): Promise<Result<R>> {
    return this.atomically((run) => run<R>(sql, parameters), wanted);
  }

  protected executeTogether(statements: readonly SqlStatement[]): Promise<boolean> {
    const nothing = new Error('A statement affected no row');
    return this.atomically((run) => {
      for (const { sql, parameters } of statements) if (run(sql, parameters).affected === 0) throw nothing;
      return true;
    }).catch((error: unknown) => {
      if (error === nothing) return false;
      throw error;
    });
  }

  /** Does what is waiting as far as it goes. Looked at again when a transaction of TypeORM's ends, and anyway soon. */
  #drain(): void {
    clearTimeout(this.#timer);
    while (this.#queue[0]?.()) this.#queue.shift();
    if (!this.#queue.length) return;
    // Without the subscriber, an application that begins a transaction right after the last would never be seen
    // between two. Asked for again each time: `initialize()` makes a new list.
    const { subscribers } = this.dataSource;
    if (!subscribers.includes(this.#subscriber)) subscribers.push(this.#subscriber);
    this.#timer = setTimeout(() => this.#drain(), 1 + 9 * Math.random());
  }

  #database(): Database {
    return (this.dataSource.driver as unknown as { databaseConnection: Database }).databaseConnection;
  }

  #runOn(database: Database): RunInTransaction {
    let prepared = this.#prepared.get(database);
    if (!prepared) this.#prepared.set(database, (prepared = new Map()));
    return <R>(sql: string, parameters: readonly Parameter[]): Result<R> => {
      let statement = prepared.get(sql);
      if (!statement) prepared.set(sql, (statement = database.prepare(sql)));
      // `all` for whatever returns rows: `run` of libsql would leave such a statement half done.
      if (!statement.reader) return { rows: [], affected: statement.run(...parameters).changes };
      const rows = statement.all(...parameters) as R[];
      return { rows, affected: rows.length };
    };
  }
}

const OCCUPIED =
  `The DataSource's only connection has been in a transaction of the application for ${PATIENCE_MS} ms. Locks and claims ` +
  `never join one, as they would be rolled back with it. Make the transaction shorter, do not wait for them ` +
  `inside of it, or give them a DataSource of its own on the same file`;

/**
 * `work` between BEGIN IMMEDIATE and COMMIT, all synchronously.
 *
 * Only BEGIN and COMMIT can find the database busy, and both go through `exec`, which leaves nothing behind. A
 * prepared statement that is refused with SQLITE_BUSY outside of a transaction stays active in libsql, and
 * from then on the connection's single statements are not committed while their results say they are.
 * An explicit COMMIT fails in that case.
 *
 * While it lasts the connection does not wait for a lock: that would stop the whole process, up to 5 s by default.
 */
function transaction<T>(database: Database, work: () => T): T {
  const [{ timeout }] = database.pragma('busy_timeout') as [{ timeout: number }];
  if (timeout > 0) database.exec('PRAGMA busy_timeout = 0');
  try {
    database.exec('BEGIN IMMEDIATE');
    const result = work();
    database.exec('COMMIT');
    return result;
  } finally {
    if (database.inTransaction) database.exec('ROLLBACK');
    if (timeout > 0) database.exec(`PRAGMA busy_timeout = ${timeout}`);
  }
}

/** Another connection has the file, or `better-sqlite3` is in the middle of the application's `iterate()`. */
function isBusy(error: unknown): boolean {
  const code = String(property(error, 'code'));
  const message = String(property(error, 'message'));
  return /^SQLITE_(BUSY|LOCKED)/.test(code) || /connection is busy|statements in progress/.test(message);
}
