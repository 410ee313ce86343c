export { SqlLock, type SqlLockOptions, sqlLock } from './sql-lock.js';
export { SqlQuorumLock, type SqlQuorumOptions, sqlQuorumLock } from './sql-quorum.js';
export { idempotencyEntities, idempotencyMigrations } from '../../stores/typeorm/index.js';
