import type { Integer, Parameter } from '../../sql/sql-database.js';
import type { Act, AuditEntry, ListQuery } from '../act.js';
import { cursorOf, partsOf } from '../list-cursor.js';
import { bytes, type Dialect, type Row } from './dialects/dialect.js';

/** A row without its answer. */
export type ListedRow = Omit<Row, 'status' | 'headers' | 'body'>;

interface AuditRow {
  id: string;
  record_id: string;
  scope: string;
  key: string;
  act: AuditEntry['act'];
  acted_by: string;
  reason: string;
  state: AuditEntry['state'];
  attempt: Integer;
  acted_at: Integer;
}

/** Part of a statement with its parameters. */
interface Part {
  readonly sql: string;
  readonly parameters: readonly Parameter[];
}

/** Said so that no planner looks through the index on `state` for it, see `IS_RUNNING`. */
const IS_UNCERTAIN = `CASE WHEN state = 'uncertain' THEN 1 ELSE 0 END = 1`;

/** What an operator asks of the tables. The same on every database: none of it is frequent. */
export class OperatorStatements {
  constructor(
    private readonly dialect: Dialect,
    private readonly auditTable: string,
  ) {}

  /**
   * The audit's row and the change, both under one condition and in one transaction. The first statement locks the
   * record, so that what it notes is what the second changes.
   */
  act(act: Act): Promise<boolean> {
    const { table, quotedKey, now, database } = this.dialect;
    const condition = this.condition(act);
    const note: Part = {
      sql: `INSERT INTO ${this.auditTable}
              (id, record_id, scope, ${quotedKey}, act, acted_by, reason, state, attempt, acted_at)
            SELECT ?, id, scope, ${quotedKey}, ?, ?, ?, state, attempt, ${now}
            FROM ${table} WHERE ${condition.sql}${database.forUpdate}`,
      parameters: [
        act.actId,
        act.response ? 'answer' : 'free',
        this.dialect.text(act.by),
        this.dialect.text(act.reason),
        ...condition.parameters,
      ],
    };
    const change = this.change(act);
    return database.together([
      note,
      {
        sql: `UPDATE ${table} SET ${change.sql} WHERE ${condition.sql}`,
        parameters: [...change.parameters, ...condition.parameters],
      },
    ]);
  }

  async audit(id: string): Promise<AuditEntry[]> {
    const { quotedKey, database } = this.dialect;
    const { rows } = await database.run<AuditRow>(
      `SELECT id, record_id, scope, ${quotedKey}, act, acted_by, reason, state, attempt, acted_at
       FROM ${this.auditTable} WHERE record_id = ? ORDER BY acted_at, id`,
      [id],
    );
    return rows.map((row) => ({
      actId: row.id,
      id: row.record_id,
      scope: row.scope,
      key: row.key,
      act: row.act,
      by: row.acted_by,
      reason: row.reason,
      state: row.state,
      attempt: Number(row.attempt),
      at: Number(row.acted_at),
    }));
  }

  /** In the order of the index on state and creation, from the row after the cursor's on. */
  async list(query: ListQuery): Promise<{ rows: ListedRow[]; cursor: string | null }> {
    const { table, quotedKey, now, database } = this.dialect;
    const filters = this.filters(query);
    const { rows } = await database.run<ListedRow>(
      `SELECT id, scope, ${quotedKey}, fingerprint, state, attempt, token, fence, lease_until,
              created_at, completed_at, expires_at, ${now} AS now
       FROM ${table} WHERE ${filters.map(({ sql }) => sql).join(' AND ')}
       ORDER BY state, created_at, id LIMIT ?`,
      [...filters.flatMap(({ parameters }) => parameters), query.limit + 1],
    );
    if (rows.length <= query.limit) return { rows, cursor: null };
    const page = rows.slice(0, query.limit);
    const last = page.at(-1)!;
    return { rows: page, cursor: cursorOf(last.state, Number(last.created_at), last.id) };
  }

  async reserve(id: string, token: string, ms: number): Promise<boolean> {
    const { table, now, database } = this.dialect;
    const { affected } = await database.run(
      `UPDATE ${table} SET lease_until = ${now} + ?
       WHERE id = ? AND token = ? AND ${IS_UNCERTAIN} AND lease_until <= ${now}`,
      [ms, id, token],
    );
    return affected > 0;
  }

  /** Which record may be acted on: see `ResultStore.act`. */
  private condition({ id, uncertainToken, response, evenLive }: Act): Part {
    if (uncertainToken !== undefined) {
      return { sql: `id = ? AND token = ? AND ${IS_UNCERTAIN}`, parameters: [id, uncertainToken] };
    }
    const owned = evenLive
      ? 'token IS NOT NULL'
      : `(token IS NOT NULL AND lease_until <= ${this.dialect.now})`;
    const unsettled = [`state = 'uncertain'`, owned, ...(response ? ['token IS NULL'] : [])].join(' OR ');
    return {
      sql: `id = ? AND state <> 'completed' AND ${this.isKept} AND (${unsettled})`,
      parameters: [id],
    };
  }

  private change({ response, actId, retentionMs }: Act): Part {
    const { now } = this.dialect;
    const keepMs = Math.ceil(retentionMs);
    if (!response) {
      return {
        sql: `state = 'running', token = NULL, lease_until = 0, expires_at = ${now} + ?`,
        parameters: [keepMs],
      };
    }
    const { status, headers, body } = response;
    return {
      sql: `state = 'completed', token = ?, status = ?, headers = ?, body = ?, lease_until = 0,
            completed_at = ${now}, expires_at = ${now} + ?`,
      parameters: [actId, status, this.dialect.text(JSON.stringify(headers)), body && bytes(body), keepMs],
    };
  }

  private filters({ state, olderThanMs, scope, cursor }: ListQuery): Part[] {
    const { now } = this.dialect;
    const parts: Part[] = [{ sql: this.isKept, parameters: [] }];
    if (state !== undefined) {
      parts.push({ sql: 'state = ?', parameters: [state === 'stuck' ? 'running' : state] });
    }
    if (state === 'stuck') {
      parts.push({ sql: `token IS NOT NULL AND lease_until <= ${now}`, parameters: [] });
    }
    if (scope !== undefined) parts.push({ sql: 'scope = ?', parameters: [this.dialect.text(scope)] });
    if (olderThanMs !== undefined) {
      parts.push({ sql: `created_at <= ${now} - ?`, parameters: [Math.ceil(olderThanMs)] });
    }
    if (cursor !== undefined) {
      const [after, createdAt, id] = partsOf(cursor, ['string', 'number', 'string']);
      parts.push({
        sql: '(state > ? OR (state = ? AND (created_at > ? OR (created_at = ? AND id > ?))))',
        parameters: [after, after, createdAt, createdAt, id],
      });
    }
    return parts;
  }

  /** An expired row that waits for the sweep is not there. */
  private get isKept(): string {
    return `(expires_at IS NULL OR expires_at > ${this.dialect.now})`;
  }
}
