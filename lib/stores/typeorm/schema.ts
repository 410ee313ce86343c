import { type DataSource, EntitySchema, type EntitySchemaColumnOptions, Table } from 'typeorm';

/** The types of DataSource there is SQL for. */
export const SUPPORTED_TYPES = ['postgres', 'mysql', 'mariadb', 'better-sqlite3'] as const;

export type SupportedType = (typeof SUPPORTED_TYPES)[number];

/** A row of `idempotency_record` as TypeORM hands it out. Times are milliseconds since 1970. */
export interface IdempotencyRecord {
  id: string;
  scope: string;
  key: string;
  fingerprint: string;
  state: string;
  attempt: number;
  token: string | null;
  fence: string;
  leaseUntil: string;
  status: number | null;
  headers: string | null;
  body: Buffer | null;
  createdAt: string;
  completedAt: string | null;
  expiresAt: string | null;
}

const ENTITY = 'IdempotencyRecord';
const TABLE = 'idempotency_record';

const INDICES = [
  { name: 'idempotency_record_sweep', columns: ['expiresAt'] },
  { name: 'idempotency_record_list', columns: ['state', 'createdAt'] },
] satisfies { name: string; columns: (keyof IdempotencyRecord)[] }[];

/**
 * The tables of this package as entities, for `entities` of the DataSource. With them `synchronize` creates the
 * tables in development. In production use `idempotencyMigrations`, which make the same tables.
 *
 * @param type `type` of the DataSource.
 * @throws Error when the type is not supported.
 */
export function idempotencyEntities(type: string): EntitySchema[] {
  return [
    new EntitySchema<IdempotencyRecord>({
      name: ENTITY,
      tableName: TABLE,
      columns: columnsFor(supported(type)),
      indices: INDICES,
    }),
  ];
}

/** @throws Error which names what is supported. */
export function supported(type: string): SupportedType {
  const known = SUPPORTED_TYPES.find((name) => name === type);
  if (known) return known;
  throw new Error(
    `nestjs-idempotent supports DataSources of type ${SUPPORTED_TYPES.join(', ')}; this one is "${type}".` +
      ` For SQLite use "better-sqlite3" (the package of that name, or a compatible one as its "driver").`,
  );
}

/** The table as migrations create it. */
export function recordTable(dataSource: DataSource): Table {
  const columns = columnsFor(supported(dataSource.options.type));
  return new Table({
    name: tablePath(dataSource),
    columns: Object.values(columns).map(({ name, type, length, primary, nullable, charset, collation }) => ({
      name: name as string,
      type: type as string,
      length: length?.toString(),
      isPrimary: primary,
      isNullable: nullable,
      charset,
      collation,
    })),
    indices: INDICES.map((index) => ({
      name: index.name,
      columnNames: index.columns.map((column) => columns[column].name as string),
    })),
  });
}

/** Where the table is: the entity's place, or what `schema` and `entityPrefix` of the DataSource make of it. */
export function tablePath({ entityMetadatas, namingStrategy, driver, options }: DataSource): string {
  const entity = entityMetadatas.find(
    (metadata) => metadata.name === ENTITY && metadata.givenTableName === TABLE,
  );
  if (entity) return entity.tablePath;
  const name = options.entityPrefix ? namingStrategy.prefixTableName(options.entityPrefix, TABLE) : TABLE;
  return driver.buildTableName(name, 'schema' in options ? options.schema : undefined);
}

/**
 * Times are integers and not the database's time types, so that one schema serves all databases and no time
 * zone of a session, a server or a client library can shift them.
 */
function columnsFor(type: SupportedType): Record<keyof IdempotencyRecord, EntitySchemaColumnOptions> {
  const isMysql = type === 'mysql' || type === 'mariadb';
  const isSqlite = type === 'better-sqlite3';
  // Whatever the default character set of a MySQL database is: keys hold any character, and ids compare as bytes.
  const ascii = isMysql ? { charset: 'ascii', collation: 'ascii_bin' } : {};
  const unicode = isMysql ? { charset: 'utf8mb4', collation: 'utf8mb4_bin' } : {};
  const hash = { type: isSqlite ? 'character' : 'char', length: 64, ...ascii } as const;
  const body = isMysql ? 'longblob' : isSqlite ? 'blob' : 'bytea';
  return {
    id: { name: 'id', ...hash, primary: true },
    scope: { name: 'scope', type: 'text', ...unicode },
    key: { name: 'key', type: 'text', ...unicode },
    fingerprint: { name: 'fingerprint', ...hash },
    state: { name: 'state', type: 'varchar', length: 16, ...ascii },
    attempt: { name: 'attempt', type: 'integer' },
    token: { name: 'token', type: 'varchar', length: 64, nullable: true, ...ascii },
    fence: { name: 'fence', type: 'bigint' },
    leaseUntil: { name: 'lease_until', type: 'bigint' },
    status: { name: 'status', type: 'integer', nullable: true },
    headers: { name: 'headers', type: isMysql ? 'mediumtext' : 'text', nullable: true, ...unicode },
    body: { name: 'body', type: body, nullable: true },
    createdAt: { name: 'created_at', type: 'bigint' },
    completedAt: { name: 'completed_at', type: 'bigint', nullable: true },
    expiresAt: { name: 'expires_at', type: 'bigint', nullable: true },
  };
}
