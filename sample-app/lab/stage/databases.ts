import { DataSource, type DataSourceOptions } from 'typeorm';
import { dataSourceOptions, openDatabase } from '../../database/data-source.js';
import { LabPayout, Ledger } from './ledger.js';

/** The shop's database with the lab's ledger in it. */
function optionsOf(url: string): DataSourceOptions {
  const options = dataSourceOptions(url);
  return {
    ...options,
    entities: [...(options.entities as unknown[] as []), LabPayout],
    // A database that goes away is to be told by a query that fails, and soon.
    ...(options.type === 'postgres' && { extra: { max: 24, connectionTimeoutMillis: 2_000 } }),
  };
}

/** With all tables that the shop, the library and the lab need. */
export async function createTables(url: string): Promise<void> {
  const dataSource = await openDatabase(optionsOf(url));
  try {
    await new Ledger(dataSource).createTable();
  } finally {
    await dataSource.destroy();
  }
}

export function connect(url: string): Promise<DataSource> {
  return new DataSource(optionsOf(url)).initialize();
}
