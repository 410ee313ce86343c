import type { DataSource, MigrationInterface, QueryRunner } from 'typeorm';
import { tablePath } from '../../sql/tables.js';
import { RECORD_TABLE } from './record.table.js';
import { tableOf } from './table-definition.js';

/** Creates `idempotency_record` unless it exists (made by `synchronize`), on every supported database. */
export class CreateIdempotencyRecord1763770000000 implements MigrationInterface {
  readonly name = 'CreateIdempotencyRecord1763770000000';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.createTable(tableOf(RECORD_TABLE, dataSourceOf(queryRunner)), true);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.dropTable(tablePath(dataSourceOf(queryRunner), RECORD_TABLE), true);
  }
}

/**
 * For `migrations` of the DataSource, in any order with the application's own. One list for all databases:
 * a migration looks at the type of the DataSource it runs on.
 */
export const idempotencyMigrations = [CreateIdempotencyRecord1763770000000];

/** TypeORM 0.3 called it `connection`. */
function dataSourceOf(queryRunner: QueryRunner): DataSource {
  return queryRunner.dataSource ?? queryRunner.connection;
}
