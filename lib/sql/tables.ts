import type { DataSource } from 'typeorm';

/** The types of DataSource there is SQL for. */
export const SUPPORTED_TYPES = ['postgres', 'mysql', 'mariadb', 'better-sqlite3'] as const;

export type SupportedType = (typeof SUPPORTED_TYPES)[number];

/** @throws Error which names what is supported. */
export function supported(type: string): SupportedType {
  const known = SUPPORTED_TYPES.find((name) => name === type);
  if (known) return known;
  throw new Error(
    `nestjs-idempotent supports DataSources of type ${SUPPORTED_TYPES.join(', ')}; this one is "${type}".` +
      ` For SQLite use "better-sqlite3" (the package of that name, or a compatible one as its "driver").`,
  );
}

/** A table of this package. */
export interface TableName {
  /** Name of the entity. */
  readonly entity: string;
  /** Name of the table, before `entityPrefix` and `schema` of a DataSource. */
  readonly table: string;
}

/** Where the table is: the entity's place, or what `schema` and `entityPrefix` of the DataSource make of it. */
export function tablePath(
  { entityMetadatas, namingStrategy, driver, options }: DataSource,
  { entity, table }: TableName,
): string {
  const known = entityMetadatas.find(
    (metadata) => metadata.name === entity && metadata.givenTableName === table,
  );
  if (known) return known.tablePath;
  const name = options.entityPrefix ? namingStrategy.prefixTableName(options.entityPrefix, table) : table;
  return driver.buildTableName(name, 'schema' in options ? options.schema : undefined);
}

/** The same as it is written in a statement. */
export function quotedTable(dataSource: DataSource, name: TableName): string {
  return tablePath(dataSource, name)
    .split('.')
    .map((part) => dataSource.driver.escape(part))
    .join('.');
}
