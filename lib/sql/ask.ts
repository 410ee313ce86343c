import type { DataSource } from 'typeorm';
import { property, type SqlDatabase } from './sql-database.js';

interface Question {
  /** In messages: who asks whom, e.g. `idempotency store (postgres)`. */
  readonly who: string;
  readonly operation: string;
  readonly dataSource: DataSource;
}

/**
 * Does `work` on a DataSource that is ready for it, and puts errors into words.
 *
 * @throws Error whose `cause` is that of the client library; when a table is missing it tells the fix.
 */
export async function ask<T, D extends { readonly database: SqlDatabase }>(
  { who, operation, dataSource }: Question,
  dialect: () => D,
  work: (dialect: D) => Promise<T>,
): Promise<T> {
  if (!dataSource.isInitialized) {
    throw new Error(
      `${who}: ${operation} before the DataSource is initialized, or after it was destroyed.` +
        ` Await dataSource.initialize() first`,
    );
  }
  const speaker = dialect();
  try {
    return await work(speaker);
  } catch (cause) {
    const fix = speaker.database.isSchemaMissing(cause) ? MISSING : '';
    // An AggregateError, as of a refused connection to a host of two addresses, has a code and no message.
    const reason = property(cause, 'message') || property(cause, 'code');
    throw new Error(`${who}: ${operation} failed: ${reason}${fix}`, { cause });
  }
}

const MISSING =
  `. The table is missing or of another version: add idempotencyMigrations of nestjs-idempotent/stores/typeorm to` +
  ` "migrations" of the DataSource and run them, or in development add ...idempotencyEntities(type) to "entities"` +
  ` with "synchronize"`;
