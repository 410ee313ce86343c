import type { EntityManager, QueryRunner } from 'typeorm';
import { guardedRunner } from '../../sql/guarded-runner.js';
import {
  answered,
  type Lent,
  type Parameter,
  property,
  type Result,
  type Run,
} from '../../sql/sql-database.js';
import type { StoredResponse } from '../result-store.js';
import type { StepRecord } from '../step-store.js';
import type { IsolationLevel, StoreTransaction } from '../store-transactions.js';
import type { Dialect } from './dialects/dialect.js';

/** A connection that does not take a rollback within this is given up, in milliseconds. */
const ROLLBACK_MS = 1_000;

const OVER =
  'The transaction of this idempotent call is over: its answer was recorded, or its key was lost. ' +
  'Await all that is written before the handler returns';

/** A transaction on a connection of the application's DataSource. */
export class OpenTransaction implements StoreTransaction {
  readonly manager: EntityManager;
  readonly #runner: QueryRunner;
  readonly #run: Run;
  #state: 'open' | 'ending' | 'over' = 'open';
  /** The database has ended the transaction in favour of others; statements now would commit by themselves. */
  #endedBy: unknown;
  #sawConflict = false;
  #mayBeCommitted = false;
  #isCommitted = false;

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

  async complete(id: string, token: string, response: StoredResponse, retentionMs: number): Promise<boolean> {
    const { last } = this.lent;
    const run: Run = (sql, parameters) =>
      last ? this.#committing(() => last(sql, parameters)) : this.#thenCommit(sql, parameters);
    return this.#last(() => this.dialect.completeBy(run, id, token, response, Math.ceil(retentionMs), true));
  }

  recordStep(id: string, token: string, step: StepRecord): Promise<boolean> {
    return this.#last(() => this.dialect.recordStep(id, token, step, this.#run));
  }

  async commit(): Promise<void> {
    if (this.#isOver) throw new Error(OVER);
    this.#state = 'ending';
    if (this.#endedBy) throw this.#endedBy;
    this.#mayBeCommitted = true;
    try {
      await this.#runner.commitTransaction();
    } finally {
      // Also if a subscriber failed afterwards.
      this.#isCommitted = !this.#runner.isTransactionActive;
    }
    await this.#giveBack();
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
    if (!this.#mayBeCommitted) return true;
    const cause = driverError(error);
    return !this.#isCommitted && isAnswer(cause) && !this.dialect.database.isDisconnect(cause);
  }

  async #thenCommit<R>(sql: string, parameters: readonly Parameter[]): Promise<Result<R>> {
    const result = await this.#run<R>(sql, parameters);
    // Rolled back while it was waited for.
    if (this.#isOver) throw new Error(OVER);
    if (result.affected > 0) await this.commit();
    return result;
  }

  /** What TypeORM's `commitTransaction` does, with `commit` in place of the statement. */
  async #committing<R>(commit: () => Promise<Result<R>>): Promise<Result<R>> {
    const { broadcaster } = this.#runner;
    await broadcaster.broadcast('BeforeTransactionCommit');
    if (this.#isOver) throw new Error(OVER);
    this.#mayBeCommitted = true;
    const result = await commit();
    if (result.affected === 0) return result;
    this.#isCommitted = true;
    await broadcaster.broadcast('AfterTransactionCommit').finally(() => this.#giveBack());
    return result;
  }

  /** A rollback that came meanwhile does so itself, when it has its answer. */
  async #giveBack(): Promise<void> {
    if (this.#isOver) return;
    this.#state = 'over';
    await this.lent.giveBack(false);
  }

  /** By a rollback, which may come at any time. */
  get #isOver(): boolean {
    return this.#state === 'over';
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
    throw new Error(OVER);
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
