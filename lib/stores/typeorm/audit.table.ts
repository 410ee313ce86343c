import { columnTypes, type TableDefinition } from './table-definition.js';

/** A row of `idempotency_audit` as TypeORM hands it out: what somebody did to a record. Never swept. */
export interface IdempotencyAudit {
  id: string;
  recordId: string;
  scope: string;
  key: string;
  act: string;
  actedBy: string;
  reason: string;
  /** Of the record before. */
  state: string;
  attempt: number;
  /** Milliseconds since 1970. */
  actedAt: string;
}

export const AUDIT_TABLE: TableDefinition<IdempotencyAudit> = {
  entity: 'IdempotencyAudit',
  table: 'idempotency_audit',
  indices: [{ name: 'idempotency_audit_record', columns: ['recordId', 'actedAt'] }],
  columns(type) {
    const { hash, token, word, text } = columnTypes(type);
    return {
      id: { name: 'id', ...token, primary: true },
      recordId: { name: 'record_id', ...hash },
      scope: { name: 'scope', ...text },
      key: { name: 'key', ...text },
      act: { name: 'act', ...word },
      actedBy: { name: 'acted_by', ...text },
      reason: { name: 'reason', ...text },
      state: { name: 'state', ...word },
      attempt: { name: 'attempt', type: 'integer' },
      actedAt: { name: 'acted_at', type: 'bigint' },
    };
  },
};
