import type { EntitySchema } from 'typeorm';
import { AUDIT_TABLE } from './audit.table.js';
import { LOCK_TABLE } from './lock.table.js';
import { RECORD_TABLE } from './record.table.js';
import { STEP_TABLE } from './step.table.js';
import { entityOf } from './table-definition.js';

/**
 * The tables of this package as entities, for `entities` of the DataSource. With them `synchronize` creates the
 * tables in development. In production use `idempotencyMigrations`, which make the same tables.
 *
 * @param type `type` of the DataSource.
 * @throws Error when the type is not supported.
 */
export function idempotencyEntities(type: string): EntitySchema[] {
  return [
    entityOf(RECORD_TABLE, type),
    entityOf(LOCK_TABLE, type),
    entityOf(STEP_TABLE, type),
    entityOf(AUDIT_TABLE, type),
  ];
}
