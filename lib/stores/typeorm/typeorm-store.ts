import type { DataSource } from 'typeorm';
import { ask } from '../../sql/ask.js';
import { MysqlDatabase } from '../../sql/mysql.database.js';
import { PostgresDatabase } from '../../sql/postgres.database.js';
import { sqliteDatabaseOf } from '../../sql/sqlite.database.js';
import { quotedTable, supported } from '../../sql/tables.js';
import {
  type ClaimAnswer,
  type ClaimRef,
  type ClaimRequest,
  ResultStore,
  type StoredRecord,
  type StoredResponse,
} from '../result-store.js';
import type { Act, ActAnswer, AuditEntry, ListedRecord, ListPage, ListQuery } from '../act.js';
import type { StepStore } from '../step-store.js';
import { AUDIT_TABLE } from './audit.table.js';
import type { StoreTransactions } from '../store-transactions.js';
import type { Dialect, Row } from './dialects/dialect.js';
import { MysqlDialect } from './dialects/mysql.dialect.js';
import { PostgresDialect } from './dialects/postgres.dialect.js';
import { SqliteDialect } from './dialects/sqlite.dialect.js';
import { type ListedRow, OperatorStatements } from './operator-statements.js';
import { RECORD_TABLE } from './record.table.js';
import { STEP_TABLE } from './step.table.js';
import { TypeOrmSteps } from './typeorm-steps.js';
import { TypeOrmTransactions } from './typeorm-transactions.js';

export interface TypeOrmStoreOptions {
  /** Where the table `idempotency_record` is. Initialized before the first call. */
  dataSource: DataSource;
  /**
   * PostgreSQL: sends statements under a name, so that a connection plans each only once (about half the time a
   * statement takes). Not behind PgBouncer before 1.21 in transaction mode.
   *
   * @default false
   */
  preparedStatements?: boolean;
  /** @internal false: goes the way of MySQL on MariaDB, too. */
  returning?: boolean;
}

/** A claim that lost against a row which was free a moment later is made again this often. */
const CLAIMS_AT_MOST = 8;

/**
 * Results in a table of PostgreSQL, MySQL, MariaDB or SQLite, on connections of a TypeORM DataSource but never
 * inside of the application's transactions.
 *
 * A row is claimed by a conditional upsert on its primary key, decided by the database under the row's lock and by
 * the database's clock (as in ShedLock's `SqlServerTime` statements), with a third way for a claim that is sent again.
 */
export class TypeOrmStore extends ResultStore {
  readonly name: string;
  override readonly steps: StepStore = new TypeOrmSteps((operation, work) => this.#ask(operation, work));
  override readonly transactions: StoreTransactions;
  readonly #options: TypeOrmStoreOptions;
  #dialect: Dialect | undefined;
  #operator: OperatorStatements | undefined;

  /** @throws Error when the type of the DataSource is not supported. */
  constructor(options: TypeOrmStoreOptions) {
    super();
    this.#options = options;
    this.name = supported(options.dataSource.options.type);
    const isParallel = this.name !== 'better-sqlite3';
    this.transactions = new TypeOrmTransactions((operation, work) => this.#ask(operation, work), isParallel);
  }

  claim(request: ClaimRequest): Promise<ClaimAnswer> {
    const rounded = { ...request, leaseMs: Math.ceil(request.leaseMs) };
    return this.#ask('claim', async (dialect) => {
      for (let round = 0; round < CLAIMS_AT_MOST; round++) {
        const row = await (round === 0 ? dialect.claimNew(rounded) : dialect.claim(rounded));
        if (row?.state === 'running' && row.token === request.token) {
          return { claimed: true, attempt: Number(row.attempt), fence: BigInt(row.fence) };
        }
        if (row && !isTakeable(row, request)) return { claimed: false, record: recordOf(row) };
      }
      return { claimed: false, record: null };
    });
  }

  /** An expired row that waits for the sweep is not there. */
  find(id: string): Promise<StoredRecord | null> {
    return this.#ask('find', async (dialect) => {
      const row = await dialect.find(id);
      return row && !isExpired(row) ? recordOf(row) : null;
    });
  }

  complete(id: string, token: string, response: StoredResponse, retentionMs: number): Promise<boolean> {
    return this.#ask('complete', (dialect) => dialect.complete(id, token, response, Math.ceil(retentionMs)));
  }

  renew(claims: readonly ClaimRef[], leaseMs: number): Promise<boolean[]> {
    if (!claims.length) return Promise.resolve([]);
    return this.#ask('renew', (dialect) => dialect.renew(claims, Math.ceil(leaseMs)));
  }

  release(id: string, token: string, mode: 'forget' | 'keep', retentionMs: number): Promise<boolean> {
    const keepMs = Math.ceil(retentionMs);
    return this.#ask('release', (dialect) =>
      dialect.release(id, token, mode === 'forget' ? 0 : keepMs, keepMs),
    );
  }

  markUncertain(id: string, token: string, orphanOnly = false): Promise<boolean> {
    return this.#ask('markUncertain', (dialect) => dialect.markUncertain(id, token, orphanOnly));
  }

  sweep(limit: number): Promise<number> {
    return this.#ask('sweep', (dialect) => dialect.sweep(limit));
  }

  act(act: Act): Promise<ActAnswer> {
    return this.#ask('act', async (dialect) => {
      if (await this.#operatorOn(dialect).act(act)) return { done: true };
      const row = await dialect.find(act.id);
      return { done: false, record: row && !isExpired(row) ? recordOf(row) : null };
    });
  }

  audit(id: string): Promise<AuditEntry[]> {
    return this.#ask('audit', (dialect) => this.#operatorOn(dialect).audit(id));
  }

  list(query: ListQuery): Promise<ListPage> {
    return this.#ask('list', async (dialect) => {
      const { rows, cursor } = await this.#operatorOn(dialect).list(query);
      return { records: rows.map(listedOf), cursor };
    });
  }

  reserve(id: string, token: string, ms: number): Promise<boolean> {
    return this.#ask('reserve', (dialect) => this.#operatorOn(dialect).reserve(id, token, Math.ceil(ms)));
  }

  #operatorOn(dialect: Dialect): OperatorStatements {
    return (this.#operator ??= new OperatorStatements(
      dialect,
      quotedTable(this.#options.dataSource, AUDIT_TABLE),
    ));
  }

  #ask<T>(operation: string, work: (dialect: Dialect) => Promise<T>): Promise<T> {
    const { dataSource } = this.#options;
    return ask(
      { who: `idempotency store (${this.name})`, operation, dataSource },
      () => (this.#dialect ??= createDialect(this.#options)),
      work,
    );
  }
}

/** @throws Error when the type of the DataSource is not supported. */
export function typeOrmStore(options: TypeOrmStoreOptions): TypeOrmStore {
  return new TypeOrmStore(options);
}

function createDialect({ dataSource, preparedStatements = false, returning }: TypeOrmStoreOptions): Dialect {
  const table = quotedTable(dataSource, RECORD_TABLE);
  const steps = quotedTable(dataSource, STEP_TABLE);
  switch (supported(dataSource.options.type)) {
    case 'postgres':
      return new PostgresDialect(table, steps, new PostgresDatabase(dataSource, preparedStatements));
    case 'mysql':
    case 'mariadb':
      return new MysqlDialect(table, steps, new MysqlDatabase(dataSource, returning));
    case 'better-sqlite3':
      return new SqliteDialect(table, steps, sqliteDatabaseOf(dataSource));
  }
}

/**
 * Whether a row that was read after a claim was refused is one the claim would have got: it became free in between.
 * The next claim decides.
 */
function isTakeable(row: Row, { fingerprint, takeOrphan }: ClaimRequest): boolean {
  if (isExpired(row)) return true;
  if (row.state !== 'running' || row.fingerprint.trimEnd() !== fingerprint) return false;
  return row.token === null || (takeOrphan && leaseRemainingMs(row) === 0);
}

function isExpired({ expires_at, now }: Pick<Row, 'expires_at' | 'now'>): boolean {
  return expires_at !== null && Number(expires_at) <= Number(now);
}

function leaseRemainingMs({ state, lease_until, now }: ListedRow): number {
  return state === 'running' ? Math.max(0, Number(lease_until) - Number(now)) : 0;
}

function recordOf(row: Row): StoredRecord {
  return { ...listedOf(row), response: row.state === 'completed' ? responseOf(row) : null };
}

function listedOf(row: ListedRow): ListedRecord {
  return {
    id: row.id,
    scope: row.scope,
    key: row.key,
    // A shorter one is padded by char(64) in PostgreSQL.
    fingerprint: row.fingerprint.trimEnd(),
    state: row.state,
    attempt: Number(row.attempt),
    token: row.token,
    leaseRemainingMs: leaseRemainingMs(row),
    createdAt: Number(row.created_at),
    completedAt: numberOrNull(row.completed_at),
    expiresAt: numberOrNull(row.expires_at),
  };
}

function responseOf({ status, headers, body }: Row): StoredResponse {
  return {
    status: numberOrNull(status),
    headers: JSON.parse(headers ?? '{}') as StoredResponse['headers'],
    // libsql gives an ArrayBuffer, which may be of another realm.
    body: body === null || ArrayBuffer.isView(body) ? body : Buffer.from(body),
  };
}

function numberOrNull(value: number | string | bigint | null): number | null {
  return value === null ? null : Number(value);
}
