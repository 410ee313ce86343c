import type { EntityManager, QueryRunner } from 'typeorm';

/** What a transaction's statements are let through by. */
export interface Gate {
  /** @throws Error when the transaction takes no statements any more. */
  check(): void;
  /** Told of every statement that failed. */
  failed(error: unknown): void;
}

/**
 * A connection in a transaction, as the application sees it: `manager` writes through it as long as the gate is open, and
 * transactions inside of it are savepoints. To end the transaction itself is not the application's business.
 *
 * It inherits from the real one, so all that TypeORM looks up there is found; what TypeORM keeps count of
 * (the depth of savepoints) it keeps on this one.
 */
export function guardedRunner(runner: QueryRunner, gate: Gate): QueryRunner & { manager: EntityManager } {
  const guarded = Object.create(runner) as QueryRunner & { manager: EntityManager; transactionDepth: number };
  const watched = async <T>(work: () => Promise<T>): Promise<T> => {
    gate.check();
    try {
      return await work();
    } catch (error) {
      gate.failed(error);
      throw error;
    }
  };
  const ends = (method: 'commitTransaction' | 'rollbackTransaction') => async () => {
    if (guarded.transactionDepth <= 1) throw new Error(`${method}: ${NOT_YOURS}`);
    await Reflect.apply(runner[method], guarded, []);
  };
  const methods: Partial<QueryRunner> = {
    query: (...args: Parameters<QueryRunner['query']>) => watched(() => runner.query(...args)),
    stream: (...args: Parameters<QueryRunner['stream']>) => watched(() => runner.stream(...args)),
    commitTransaction: ends('commitTransaction'),
    rollbackTransaction: ends('rollbackTransaction'),
    release: () => Promise.resolve(),
  };
  // Released or not, the gate has the word.
  Object.assign(guarded, methods, { isReleased: false });
  // TypeORM 0.3 called it `connection`.
  const dataSource = runner.dataSource ?? runner.connection;
  return Object.assign(guarded, { manager: dataSource.createEntityManager(guarded) });
}

const NOT_YOURS =
  'the transaction of an idempotent call ends with the call, together with its record. Throw to have it rolled back';
