import type { DataSource } from 'typeorm';
import type { Scheme, Site } from '../scheme.js';

/** Never to be copied. */
export const selectThenInsert: Scheme = {
  id: 'select-then-insert',
  number: 2,
  kind: 'exhibit',
  name: 'Select, then insert',
  claim: 'Look whether the order was refunded; if there is no row, pay and insert one.',
  needs: ['database'],
  async open(site) {
    const shop = await withTable(await site.database());
    let shards: Promise<DataSource[]> | undefined;
    const place = async (shard: number) =>
      shard === 0 ? shop : (await (shards ??= split(site)))[shard - 1]!;
    return async (command) => {
      const { orderId } = command;
      const table = await place(command.shard);
      const rows: unknown[] = await table.sql`SELECT order_id FROM lab_refunded WHERE order_id = ${orderId}`;
      if (rows.length > 0) return 'duplicate';
      site.note('finds no row');
      await site.point('looked');
      await site.bank.pay(command);
      await table.sql`INSERT INTO lab_refunded (order_id) VALUES (${orderId})`;
      return 'paid';
    };
  },
};

/** Each order has its row where the order is. */
async function split(site: Site): Promise<DataSource[]> {
  return Promise.all((await site.databases()).map(withTable));
}

async function withTable(dataSource: DataSource): Promise<DataSource> {
  const create = () =>
    dataSource.query('CREATE TABLE IF NOT EXISTS lab_refunded (order_id varchar(160) NOT NULL)');
  // Those who make it at the same moment can fail at it; then it is there.
  await create().catch(create);
  return dataSource;
}
