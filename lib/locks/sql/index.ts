export { SqlLock, type SqlLockOptions, sqlLock } from './sql-lock.js';
export { idempotencyEntities, idempotencyMigrations } from '../../stores/typeorm/index.js';
