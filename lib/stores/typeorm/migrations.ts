import type { DataSource, MigrationInterface, QueryRunner } from 'typeorm';
import { tablePath } from '../../sql/tables.js';
import { AUDIT_TABLE, type IdempotencyAudit } from './audit.table.js';
import { type IdempotencyLock, LOCK_TABLE } from './lock.table.js';
import { type IdempotencyRecord, RECORD_TABLE } from './record.table.js';
import { type IdempotencyStep, STEP_TABLE } from './step.table.js';
import { type TableDefinition, tableOf } from './table-definition.js';

/** Creates a table unless it exists (made by `synchronize`), on every supported database. */
abstract class CreateTable<Row> implements MigrationInterface {
  abstract readonly name: string;
  protected abstract readonly table: TableDefinition<Row>;

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.createTable(tableOf(this.table, dataSourceOf(queryRunner)), true);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.dropTable(tablePath(dataSourceOf(queryRunner), this.table), true);
  }
}

/** Creates `idempotency_record`. */
export class CreateIdempotencyRecord1763770000000 extends CreateTable<IdempotencyRecord> {
  readonly name = 'CreateIdempotencyRecord1763770000000';
  protected readonly table = RECORD_TABLE;
}

/** Creates `idempotency_lock`. */
export class CreateIdempotencyLock1763770000001 extends CreateTable<IdempotencyLock> {
  readonly name = 'CreateIdempotencyLock1763770000001';
  protected readonly table = LOCK_TABLE;
}

/** Creates `idempotency_step`. */
export class CreateIdempotencyStep1763770000002 extends CreateTable<IdempotencyStep> {
  readonly name = 'CreateIdempotencyStep1763770000002';
  protected readonly table = STEP_TABLE;
}

/** Creates `idempotency_audit`. */
export class CreateIdempotencyAudit1763770000003 extends CreateTable<IdempotencyAudit> {
  readonly name = 'CreateIdempotencyAudit1763770000003';
  protected readonly table = AUDIT_TABLE;
}

/**
 * For `migrations` of the DataSource, in any order with the application's own. One list for all databases:
 * a migration looks at the type of the DataSource it runs on.
 */
export const idempotencyMigrations = [
  CreateIdempotencyRecord1763770000000,
  CreateIdempotencyLock1763770000001,
  CreateIdempotencyStep1763770000002,
  CreateIdempotencyAudit1763770000003,
];

/** TypeORM 0.3 called it `connection`. */
function dataSourceOf(queryRunner: QueryRunner): DataSource {
  return queryRunner.dataSource ?? queryRunner.connection;
}
