import type { Result } from '../../sql/sql-database.js';
import type { StepRecord, StepStore, StoredStep } from '../step-store.js';
import type { Dialect, StepRow } from './dialects/dialect.js';

type Ask = <T>(operation: string, work: (dialect: Dialect) => Promise<T>) => Promise<T>;

/** Steps in a table of their own beside the records. */
export class TypeOrmSteps implements StepStore {
  constructor(private readonly ask: Ask) {}

  async list(id: string): Promise<StoredStep[]> {
    const { rows } = await this.ask<Result<StepRow>>('list steps', (dialect) => dialect.steps(id));
    return rows.map(({ name, position, result, attempt, completed_at }) => ({
      name,
      position: Number(position),
      result,
      attempt: Number(attempt),
      completedAt: Number(completed_at),
    }));
  }

  record(id: string, token: string, step: StepRecord): Promise<boolean> {
    return this.ask('record step', (dialect) => dialect.recordStep(id, token, step));
  }
}
