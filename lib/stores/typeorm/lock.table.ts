import { columnTypes, type TableDefinition } from './table-definition.js';

/** A row of `idempotency_lock` as TypeORM hands it out. Times are milliseconds since 1970. */
export interface IdempotencyLock {
  /** SHA-256 of the name. */
  id: string;
  /** The holder's; null once it was released. */
  token: string | null;
  /** The holder's, or the last holder's. */
  fence: string;
  /** The holder has it until then, unless it is prolonged. */
  until: string;
  /** Others may have it from then on if it is not released. */
  freeAt: string;
  /** Until then somebody may wait to be told of a release. */
  wakeUntil: string;
}

export const LOCK_TABLE: TableDefinition<IdempotencyLock> = {
  entity: 'IdempotencyLock',
  table: 'idempotency_lock',
  indices: [{ name: 'idempotency_lock_sweep', columns: ['freeAt'] }],
  columns(type) {
    const { hash, token } = columnTypes(type);
    return {
      id: { name: 'id', ...hash, primary: true },
      token: { name: 'token', ...token, nullable: true },
      fence: { name: 'fence', type: 'bigint' },
      until: { name: 'until', type: 'bigint' },
      freeAt: { name: 'free_at', type: 'bigint' },
      wakeUntil: { name: 'wake_until', type: 'bigint' },
    };
  },
};
