export { TypeOrmStore, type TypeOrmStoreOptions, typeOrmStore } from './typeorm-store.js';
export { CreateIdempotencyRecord1763770000000, idempotencyMigrations } from './migrations.js';
export type { IdempotencyRecord } from './record.table.js';
export { idempotencyEntities } from './schema.js';
