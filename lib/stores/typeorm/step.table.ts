import { columnTypes, type TableDefinition } from './table-definition.js';

/** A row of `idempotency_step` as TypeORM hands it out. Times are milliseconds since 1970. */
export interface IdempotencyStep {
  recordId: string;
  name: string;
  /** 0 for the first of the call. */
  position: number;
  /** JSON. */
  result: string;
  attempt: number;
  /** `created_at` of the record: a later record under the same id has nothing to do with this step. */
  recordCreatedAt: string;
  completedAt: string;
}

export const STEP_TABLE: TableDefinition<IdempotencyStep> = {
  entity: 'IdempotencyStep',
  table: 'idempotency_step',
  indices: [],
  columns(type) {
    const { hash, name, longText } = columnTypes(type);
    return {
      recordId: { name: 'record_id', ...hash, primary: true },
      name: { name: 'name', ...name, primary: true },
      position: { name: 'position', type: 'integer' },
      result: { name: 'result', ...longText },
      attempt: { name: 'attempt', type: 'integer' },
      recordCreatedAt: { name: 'record_created_at', type: 'bigint' },
      completedAt: { name: 'completed_at', type: 'bigint' },
    };
  },
};
