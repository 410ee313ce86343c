import { createHash } from 'node:crypto';
import type { DataSource } from 'typeorm';
import { surviveLastWords } from './last-words.js';
import { PostgresTransaction, type Statement } from './postgres-transaction.js';
import {
  answered,
  CalledOffError,
  type Lent,
  type Parameter,
  property,
  type Result,
  type Run,
  SqlDatabase,
  type SqlStatement,
  type Wanted,
} from './sql-database.js';

/** What is used of `pg.Pool`. */
export interface Pool {
  query(statement: Statement | string, values: unknown[]): Promise<Reply>;
  connect(): Promise<Client>;
  on(event: 'acquire', listener: (client: Client) => void): unknown;
}

/** What is used of a client of the pool. */
interface Client {
  query(statement: Statement | string, values: unknown[]): Promise<Reply>;
  release(broken: boolean): void;
  on(event: 'error', listener: () => void): unknown;
}

/** What is used of TypeORM's connection beyond its contract: closing it. */
interface PostgresRunner {
  releasePostgresConnection(error: Error): Promise<void>;
}

interface Reply {
  readonly rows: unknown[];
  readonly rowCount: number | null;
}

const TRANSIENT = ['40001', '40P01']; // serialization_failure (under a default isolation level above read committed), deadlock
const SCHEMA_MISSING = ['42P01', '42703', '3F000']; // undefined table, column, schema
// admin_shutdown, crash_shutdown, idle_session_timeout, transaction_timeout, statement_completion_unknown
const GOODBYE = ['57P01', '57P02', '57P05', '25P04', '40003'];
const CONNECTION_EXCEPTION = /^08[0-9A-Z]{3}$/; // from a pooler between here and the server, for example
const BROKEN = /^(ECONNRESET|EPIPE)$/;

/** PostgreSQL 9.5 and later. Statements run on the DataSource's (master) pool, never on the application's connection. */
export class PostgresDatabase extends SqlDatabase {
  // clock_timestamp() and not now(): what a statement decides after it waited for a row must not be of before.
  readonly now = 'floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint';
  readonly micros = 'floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint';
  #leastIsolation: Promise<'READ COMMITTED' | undefined> | undefined;
  readonly #statements = new Map<string, Statement | string>();
  readonly #lastStatements = new Map<string, Statement>();

  /**
   * @param named whether statements are sent under a name, so that a connection plans each only once.
   * @param answerMs a connection that has not answered for so long is given up.
   */
  constructor(
    readonly dataSource: DataSource,
    private readonly named: boolean,
    private readonly answerMs?: number,
  ) {
    super();
  }

  get pool(): Pool {
    const pool = (this.dataSource.driver as unknown as { master: Pool }).master;
    surviveLastWords(pool);
    return pool;
  }

  isSchemaMissing(error: unknown): boolean {
    return SCHEMA_MISSING.includes(String(property(error, 'code')));
  }

  isDisconnect(error: unknown): boolean {
    const code = String(property(error, 'code'));
    return (
      GOODBYE.includes(code) ||
      CONNECTION_EXCEPTION.test(code) ||
      BROKEN.test(code) ||
      /^Connection terminated/.test(String(property(error, 'message')))
    );
  }

  /** Whether the server answered with an error: nothing of the statement was executed. */
  isRefusal(error: unknown): boolean {
    return /^[0-9A-Z]{5}$/.test(String(property(error, 'code'))) && !this.isDisconnect(error);
  }

  protected isTransient(error: unknown): boolean {
    return TRANSIENT.includes(String(property(error, 'code')));
  }

  async lend(): Promise<Lent> {
    surviveLastWords(this.pool);
    const runner = this.dataSource.createQueryRunner('master');
    const transaction = await PostgresTransaction.on(runner);
    const { releasePostgresConnection } = runner as unknown as Partial<PostgresRunner>;
    const giveBack = (isBroken: boolean) => {
      transaction?.close();
      return isBroken && releasePostgresConnection
        ? releasePostgresConnection.call(runner, new Error('The connection is in an unknown state'))
        : runner.release();
    };
    const last: Run | undefined =
      transaction && ((sql, parameters) => transaction.last(this.#lastStatement(sql), parameters));
    return { runner, last, giveBack };
  }

  /** To say it costs a round trip, and it is the default nearly everywhere: so that is asked, once. */
  leastIsolation(): Promise<'READ COMMITTED' | undefined> {
    this.#leastIsolation ??= this.execute<{ level: string }>(
      `SELECT current_setting('default_transaction_isolation') AS level`,
      [],
    ).then(
      ({ rows }) => (rows[0]?.level === 'read committed' ? undefined : 'READ COMMITTED'),
      (error: unknown) => {
        this.#leastIsolation = undefined;
        throw error;
      },
    );
    return this.#leastIsolation;
  }

  protected override written(sql: string): string {
    const statement = this.#statement(sql);
    return typeof statement === 'string' ? statement : statement.text;
  }

  protected async execute<R>(
    sql: string,
    parameters: readonly Parameter[],
    wanted?: Wanted,
  ): Promise<Result<R>> {
    const statement = this.#statement(sql);
    const values = [...parameters];
    const isSimple = this.answerMs === undefined && !wanted;
    const { rows, rowCount } = await (isSimple
      ? this.pool.query(statement, values)
      : this.#queryOnOne(statement, values, wanted));
    return { rows: rows as R[], affected: rowCount ?? 0 };
  }

  protected async executeTogether(statements: readonly SqlStatement[]): Promise<boolean> {
    const client = await this.pool.connect();
    let isBroken = true;
    try {
      await client.query('BEGIN', []);
      let isWhole = true;
      for (const { sql, parameters } of statements) {
        const { rowCount } = await client.query(this.#statement(sql), [...parameters]);
        if (!(isWhole = !!rowCount)) break;
      }
      await client.query(isWhole ? 'COMMIT' : 'ROLLBACK', []);
      isBroken = false;
      return isWhole;
    } finally {
      // After an error the connection is given up, and with it its transaction.
      client.release(isBroken);
    }
  }

  async #queryOnOne(statement: Statement | string, values: unknown[], wanted?: Wanted): Promise<Reply> {
    const client = await this.pool.connect();
    let isBroken = false;
    try {
      if (wanted?.() === false) throw new CalledOffError();
      isBroken = true;
      const reply = await answered(client.query(statement, values), this.answerMs);
      isBroken = false;
      return reply;
    } catch (error) {
      // After words of the server the connection is good, except for its last ones.
      if (this.isRefusal(error)) isBroken = false;
      throw error;
    } finally {
      client.release(isBroken);
    }
  }

  /** Without a name a text alone: `pg` copies objects property by property. */
  #statement(sql: string): Statement | string {
    let statement = this.#statements.get(sql);
    if (!statement) {
      const text = numbered(sql);
      statement = this.named ? { text, name: nameOf(text) } : text;
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #lastStatement(sql: string): Statement {
    let statement = this.#lastStatements.get(sql);
    if (!statement) {
      const text = PostgresTransaction.insisting(numbered(sql));
      statement = { text, name: this.named ? nameOf(text) : undefined };
      this.#lastStatements.set(sql, statement);
    }
    return statement;
  }
}

function numbered(sql: string): string {
  let count = 0;
  return sql.replaceAll('?', () => `$${++count}`);
}

/** By its content: another version of this package on the same connection has other names. */
function nameOf(text: string): string {
  return `idempotent_${createHash('sha1').update(text).digest('hex')}`;
}
