import type { QueryRunner } from 'typeorm';
import { type Parameter, property, type Result } from './sql-database.js';

export interface Statement {
  readonly text: string;
  /** Under a name a connection plans it only once. */
  readonly name?: string | undefined;
}

/** What is used of a client of `pg`. */
interface Client {
  query(statement: unknown, values?: unknown, callback?: unknown): unknown;
  readonly connection?: { readonly stream?: unknown };
  readonly constructor: { readonly Query?: QueryConstructor };
}

type QueryConstructor = {
  new (statement: Statement, values: unknown[], callback: (error: unknown, result: unknown) => void): Query;
  readonly prototype: Partial<Query>;
};

/** What is used of a query of `pg`, which sends itself and takes its own answers. */
interface Query {
  submit(connection: Connection): Error | null;
  handleCommandComplete(answer: unknown, connection: Connection): void;
  handleDataRow(row: unknown): void;
  handleError(error: unknown, connection: Connection): void;
}

/** Messages of the extended query protocol. */
interface Connection {
  readonly stream: { cork(): void; uncork(): void; destroy(): void };
  /** The named statements the server knows. */
  readonly parsedStatements: Record<string, string | undefined>;
  parse(statement: Statement): void;
  bind(portal: { statement?: string; values: unknown[] }): void;
  execute(portal: object): void;
  sync(): void;
}

const START = 'START TRANSACTION';
/** What TypeORM is told of a statement that is not sent, or not yet. */
const UNSENT = { rows: [], rowCount: null };
/** Seen in the server's log, too. */
const NOTHING = 'no row was affected';

const TOO_LATE = 'The transaction is committed or over: await all that is written before the handler returns';

/**
 * A transaction in as many messages as there are statements in it: `START TRANSACTION` goes along with the first one,
 * `COMMIT` with the last. What comes after a statement that failed the server skips, up to the end of the message: so
 * nothing is committed then.
 *
 * Everything is handed to the client at once, which sends in the order it is given: nothing overtakes the beginning.
 *
 * https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING
 */
export class PostgresTransaction {
  #state: 'new' | 'put off' | 'begun' | 'committing' | 'over' = 'new';

  private constructor(
    private readonly client: Client,
    private readonly Query: QueryConstructor,
  ) {}

  /** undefined: it is another client than that of `pg` (pg-native), or TypeORM does not hold it where it used to. */
  static async on(runner: QueryRunner): Promise<PostgresTransaction | undefined> {
    const client = (await runner.connect()) as Client;
    const { Query } = client.constructor;
    const holder = runner as unknown as { databaseConnection?: unknown };
    if (!Query?.prototype.handleCommandComplete || !client.connection?.stream) return undefined;
    if (holder.databaseConnection !== client) return undefined;
    const transaction = new PostgresTransaction(client, Query);
    const query = transaction.#query.bind(transaction);
    holder.databaseConnection = new Proxy(client, {
      get: (target, name) => (name === 'query' ? query : Reflect.get(target, name)),
    });
    return transaction;
  }

  /** The INSERT, UPDATE or DELETE, as a statement that fails when it affects no row. */
  static insisting(sql: string): string {
    return (
      `WITH last AS (${sql} RETURNING 1)` +
      ` SELECT CASE count(*) WHEN 0 THEN (count(*) || ': ${NOTHING}')::integer END FROM last`
    );
  }

  /**
   * Runs a statement made by `insisting`, and commits. If it affects no row nothing is committed, and the transaction is
   * to be rolled back.
   */
  async last<R>(statement: Statement, parameters: readonly Parameter[]): Promise<Result<R>> {
    const { name } = statement;
    const values = parameters.map((value) => (typeof value === 'number' ? String(value) : value));
    const isPutOff = this.#isPutOff();
    const send = (connection: Connection) => {
      // Parsed before all else: the client takes the first word of something parsed for that of this statement.
      if (name && !connection.parsedStatements[name]) connection.parse(statement);
      if (isPutOff) add(connection, START);
      if (!name) connection.parse(statement);
      connection.bind({ statement: name ?? '', values });
      connection.execute({});
      add(connection, 'COMMIT');
      connection.sync();
      return null;
    };
    this.#state = 'committing';
    try {
      await this.#send(statement, values, (query) => {
        query.submit = (connection) => inOneMessage(connection, () => send(connection));
        query.handleCommandComplete = () => undefined;
        query.handleDataRow = () => undefined;
      });
    } catch (error) {
      if (!String(property(error, 'message')).includes(NOTHING)) throw error;
      return { rows: [], affected: 0 };
    } finally {
      // Unless it was given up meanwhile.
      if (this.#state === 'committing') this.#state = 'begun';
    }
    return { rows: [], affected: 1 };
  }

  /** The connection is given back: what still comes would be somebody else's. */
  close(): void {
    this.#state = 'over';
  }

  /** In place of the client's own: what comes first takes the beginning along, whoever sends it. */
  #query(statement: unknown, values?: unknown, callback?: unknown): unknown {
    if (this.#state === 'new' && statement === START) {
      this.#state = 'put off';
      return Promise.resolve(UNSENT);
    }
    const isTooLate = this.#state === 'over' || (this.#state === 'committing' && statement !== 'ROLLBACK');
    if (isTooLate) return Promise.reject(new Error(TOO_LATE));
    if (!this.#isPutOff()) return this.client.query(statement, values, callback);
    if (statement === 'COMMIT' || statement === 'ROLLBACK') return Promise.resolve(UNSENT);
    const isText = typeof statement === 'string' && !callback;
    if (isText && Array.isArray(values) && values.length > 0) return this.#beginWith(statement, values);
    if (isText && (values === undefined || Array.isArray(values)))
      return this.#begin(`${START}; ${statement}`, []);
    // A stream, say. It stands in line behind the beginning.
    this.#begin(START, []).catch(() => undefined);
    return this.client.query(statement, values, callback);
  }

  /** @returns whether the beginning is still to be sent. From now on it is not: who asks sends it. */
  #isPutOff(): boolean {
    const isPutOff = this.#state === 'put off';
    this.#state = 'begun';
    return isPutOff;
  }

  #beginWith(text: string, values: unknown[]): Promise<unknown> {
    return this.#begin(text, values, (query) => {
      const submit = query.submit.bind(query);
      query.submit = (connection) =>
        inOneMessage(connection, () => {
          add(connection, START);
          return submit(connection);
        });
    });
  }

  /** Sends what begins the transaction. Without one the connection is of no use: what comes next would commit by itself. */
  #begin(text: string, values: unknown[], change?: (query: Query) => void): Promise<unknown> {
    return this.#send({ text }, values, (query) => {
      const handleCommandComplete = query.handleCommandComplete.bind(query);
      const handleError = query.handleError.bind(query);
      change?.(query);
      query.handleError = (error, connection) => {
        connection.stream.destroy();
        handleError(error, connection);
      };
      // The first one is of the beginning.
      query.handleCommandComplete = () => {
        query.handleCommandComplete = handleCommandComplete;
        query.handleError = handleError;
      };
    });
  }

  #send(statement: Statement, values: unknown[], change: (query: Query) => void): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const query = new this.Query({ ...statement }, values, (error, result) =>
        error ? reject(error) : resolve(result),
      );
      change(query);
      this.client.query(query);
    });
  }
}

function add(connection: Connection, text: string): void {
  connection.parse({ text });
  connection.bind({ values: [] });
  connection.execute({});
}

function inOneMessage<T>({ stream }: Connection, send: () => T): T {
  stream.cork();
  try {
    return send();
  } finally {
    stream.uncork();
  }
}
