// For its types: what `ctx.manager` is. Nothing else that is exported here mentions them.
import './typeorm-transactions.js';
export { TypeOrmStore, type TypeOrmStoreOptions, typeOrmStore } from './typeorm-store.js';
export {
  CreateIdempotencyAudit1763770000003,
  CreateIdempotencyLock1763770000001,
  CreateIdempotencyRecord1763770000000,
  CreateIdempotencyStep1763770000002,
  idempotencyMigrations,
} from './migrations.js';
export type { IdempotencyAudit } from './audit.table.js';
export type { IdempotencyLock } from './lock.table.js';
export type { IdempotencyRecord } from './record.table.js';
export type { IdempotencyStep } from './step.table.js';
export { idempotencyEntities } from './schema.js';
export * from '../../state-machine/index.js';
export * from '../sharded/index.js';
