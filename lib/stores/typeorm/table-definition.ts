import { type DataSource, EntitySchema, type EntitySchemaColumnOptions, Table } from 'typeorm';
import { supported, type SupportedType, type TableName, tablePath } from '../../sql/tables.js';

/** A table of this package, from which its entity and its migration are made. */
export interface TableDefinition<Row> extends TableName {
  readonly indices: readonly { readonly name: string; readonly columns: readonly (keyof Row & string)[] }[];
  columns(type: SupportedType): Record<keyof Row & string, EntitySchemaColumnOptions>;
}

export function entityOf<Row>(definition: TableDefinition<Row>, type: string): EntitySchema {
  return new EntitySchema<Row>({
    name: definition.entity,
    tableName: definition.table,
    columns: definition.columns(supported(type)) as never,
    indices: definition.indices.map(({ name, columns }) => ({ name, columns: [...columns] })),
  });
}

/** The table as migrations create it. */
export function tableOf<Row>(definition: TableDefinition<Row>, dataSource: DataSource): Table {
  const columns = definition.columns(supported(dataSource.options.type));
  return new Table({
    name: tablePath(dataSource, definition),
    columns: Object.values<EntitySchemaColumnOptions>(columns).map((column) => ({
      name: column.name as string,
      type: column.type as string,
      length: column.length?.toString(),
      isPrimary: column.primary,
      isNullable: column.nullable,
      charset: column.charset,
      collation: column.collation,
    })),
    indices: definition.indices.map((index) => ({
      name: index.name,
      columnNames: index.columns.map((column) => columns[column].name as string),
    })),
  });
}

/**
 * Column types by purpose. Times are integers and not the database's time types, so that one schema serves all
 * databases and no time zone of a session, a server or a client library can shift them.
 */
export function columnTypes(type: SupportedType) {
  const isMysql = type === 'mysql' || type === 'mariadb';
  const isSqlite = type === 'better-sqlite3';
  // Whatever the default character set of a MySQL database is: keys hold any character, and ids compare as bytes.
  const ascii = isMysql ? { charset: 'ascii', collation: 'ascii_bin' } : {};
  const unicode = isMysql ? { charset: 'utf8mb4', collation: 'utf8mb4_bin' } : {};
  return {
    hash: { type: isSqlite ? 'character' : 'char', length: 64, ...ascii },
    token: { type: 'varchar', length: 64, ...ascii },
    word: { type: 'varchar', length: 16, ...ascii },
    name: { type: 'varchar', length: 128, ...unicode },
    text: { type: 'text', ...unicode },
    longText: { type: isMysql ? 'mediumtext' : 'text', ...unicode },
    bytes: { type: isMysql ? 'longblob' : isSqlite ? 'blob' : 'bytea' },
  } as const;
}
