import { columnTypes, type TableDefinition } from './table-definition.js';

/** A row of `idempotency_record` as TypeORM hands it out. Times are milliseconds since 1970. */
export interface IdempotencyRecord {
  id: string;
  scope: string;
  key: string;
  fingerprint: string;
  state: string;
  attempt: number;
  token: string | null;
  fence: string;
  leaseUntil: string;
  status: number | null;
  headers: string | null;
  body: Buffer | null;
  createdAt: string;
  completedAt: string | null;
  expiresAt: string | null;
}

export const RECORD_TABLE: TableDefinition<IdempotencyRecord> = {
  entity: 'IdempotencyRecord',
  table: 'idempotency_record',
  indices: [
    { name: 'idempotency_record_sweep', columns: ['expiresAt'] },
    { name: 'idempotency_record_list', columns: ['state', 'createdAt'] },
  ],
  columns(type) {
    const { hash, token, word, text, longText, bytes } = columnTypes(type);
    return {
      id: { name: 'id', ...hash, primary: true },
      scope: { name: 'scope', ...text },
      key: { name: 'key', ...text },
      fingerprint: { name: 'fingerprint', ...hash },
      state: { name: 'state', ...word },
      attempt: { name: 'attempt', type: 'integer' },
      token: { name: 'token', ...token, nullable: true },
      fence: { name: 'fence', type: 'bigint' },
      leaseUntil: { name: 'lease_until', type: 'bigint' },
      status: { name: 'status', type: 'integer', nullable: true },
      headers: { name: 'headers', ...longText, nullable: true },
      body: { name: 'body', ...bytes, nullable: true },
      createdAt: { name: 'created_at', type: 'bigint' },
      completedAt: { name: 'completed_at', type: 'bigint', nullable: true },
      expiresAt: { name: 'expires_at', type: 'bigint', nullable: true },
    };
  },
};
