import type { EntityManager, QueryRunner } from 'typeorm';
import { guardedRunner } from '../../sql/guarded-runner.js';
import { answered, type Lent, property, type Run } from '../../sql/sql-database.js';
import type { StoredResponse } from '../result-store.js';
import type { StepRecord } from '../step-store.js';
import type { IsolationLevel, StoreTransaction } from '../store-transactions.js';
import type { Dialect } from './dialects/dialect.js';

/** A connection that does not take a rollback within this is given up, in milliseconds. */
const ROLLBACK_MS = 1_000;

/** A transaction on a connection of the application's DataSource. */
export class OpenTransaction implements StoreTransaction {
  readonly manager: EntityManager;
  readonly #runner: QueryRunner;
  readonly #run: Run;
  #state: 'open' | 'ending' | 'over' = 'open';
  /** The database has ended the transaction in favour of others; statements now would commit by themselves. */
  #endedBy: unknown;
  #sawConflict = false;

  private constructor(
    private readonly dialect: Dialect,
    private readonly lent: Lent,
  ) {
    this.#runner = lent.runner;
    this.#run = dialect.database.on(lent.runner);
    this.manager = guardedRunner(lent.runner, {
      check: () => this.#check(),
      failed: (error) => this.#failed(error),
    }).manager;
  }

  static async begin(dialect: Dialect, isolation: IsolationLevel | undefined): Promise<OpenTransaction> {
    const { database } = dialect;
    const level = database.isParallel ? (isolation ?? (await database.leastIsolation())) : undefined;
    const lent = await database.lend();
    try {
      await lent.runner.startTransaction(level);
      return new OpenTransaction(dialect, lent);
    } catch (error) {
      await lent.giveBack(true);
      throw error;
    }
  }

  complete(id: string, token: string, response: StoredResponse, retentionMs: number): Promise<boolean> {
    return this.#last(() => this.dialect.completeBy(this.#run, id, token, response, Math.ceil(retentionMs)));
  }

  recordStep(id: string, token: string, step: StepRecord): Promise<boolean> {
    return this.#last(() => this.dialect.recordStep(id, token, step, this.#run));
  }

  async commit(): Promise<void> {
    this.#state = 'ending';
    if (this.#endedBy) throw this.#endedBy;
    await this.#runner.commitTransaction();
    this.#state = 'over';
    await this.lent.giveBack(false);
  }

  async rollback(): Promise<void> {
    if (this.#state === 'over') return;
    this.#state = 'over';
    let isBroken = true;
    try {
      await answered(this.#runner.rollbackTransaction(), ROLLBACK_MS);
      isBroken = false;
    } catch {
      // Closing the connection rolls back as well.
    }
    await this.lent.giveBack(isBroken).catch(() => undefined);
  }

  gaveWay(error: unknown): boolean {
    return this.#sawConflict || this.dialect.database.isConflict(driverError(error));
  }

  hasAnswered(error: unknown): boolean {
    const cause = driverError(error);
    return isAnswer(cause) && !this.dialect.database.isDisconnect(cause);
  }

  async #last(work: () => Promise<boolean>): Promise<boolean> {
    this.#check();
    this.#state = 'ending';
    try {
      return await work();
    } catch (error) {
      this.#failed(error);
      throw error;
    }
  }

  #check(): void {
    if (this.#endedBy) throw this.#endedBy;
    if (this.#state === 'open') return;
    throw new Error(
      'The transaction of this idempotent call is over: its answer was recorded, or its key was lost. ' +
        'Await all that is written before the handler returns',
    );
  }

  #failed(error: unknown): void {
    const cause = driverError(error);
    if (this.dialect.database.endsTransaction(cause)) this.#endedBy = error;
    if (this.dialect.database.isConflict(cause)) this.#sawConflict = true;
  }
}

/** What TypeORM has wrapped. */
function driverError(error: unknown): unknown {
  return property(error, 'driverError') ?? error;
}

/** Words of the database: SQLSTATE, or a result code of SQLite. Client libraries have other codes, or none. */
function isAnswer(error: unknown): boolean {
  const code = String(property(error, 'code'));
  return property(error, 'sqlState') !== undefined || /^(?=.*\d)[0-9A-Z]{5}$|^SQLITE_/.test(code);
}
