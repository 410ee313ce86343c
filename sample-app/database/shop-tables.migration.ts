import { type MigrationInterface, type QueryRunner, Table, type TableColumnOptions } from 'typeorm';

/** Orders, refunds and the ledger. */
export class CreateShopTables1763770000001 implements MigrationInterface {
  readonly name = 'CreateShopTables1763770000001';

  async up(queryRunner: QueryRunner): Promise<void> {
    const { id, word } = columnsFor(queryRunner);
    await queryRunner.createTable(
      new Table({
        name: 'orders',
        columns: [
          { ...id('order_id'), isPrimary: true },
          { name: 'amount', type: 'integer' },
          word('status'),
          { ...id('refund_id'), isNullable: true },
        ],
      }),
      true,
    );
    await queryRunner.createTable(
      new Table({
        name: 'refunds',
        columns: [
          { ...id('refund_id'), isPrimary: true },
          id('order_id'),
          { name: 'amount', type: 'integer' },
          word('channel'),
          word('status'),
          { name: 'reason', type: 'varchar', length: '255', isNullable: true },
        ],
        indices: [{ name: 'refunds_unfinished', columnNames: ['status', 'channel'] }],
      }),
      true,
    );
    await queryRunner.createTable(
      new Table({
        name: 'ledger',
        columns: [
          { ...id('payout_id'), isPrimary: true },
          id('order_id'),
          { name: 'amount', type: 'integer' },
          { name: 'at', type: 'varchar', length: '24' },
        ],
        // Not unique: the ledger is the witness. It must be able to show that money left twice.
        indices: [{ name: 'ledger_order', columnNames: ['order_id'] }],
      }),
      true,
    );
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    for (const table of ['ledger', 'refunds', 'orders']) await queryRunner.dropTable(table, true);
  }
}

/** MySQL compares text without regard to case, unless it is told otherwise. */
function columnsFor({ connection }: QueryRunner) {
  const exact = connection.options.type === 'mysql' ? { charset: 'ascii', collation: 'ascii_bin' } : {};
  const id = (name: string): TableColumnOptions => ({ name, type: 'varchar', length: '64', ...exact });
  const word = (name: string): TableColumnOptions => ({ name, type: 'varchar', length: '16', ...exact });
  return { id, word };
}
