import { setTimeout as sleep } from 'node:timers/promises';
import type { QueryRunner } from 'typeorm';

/** Client libraries give a bigint column as a string, unless they are told otherwise. */
export type Integer = number | string | bigint;

export type Parameter = string | number | Uint8Array | readonly (string | Uint8Array | null)[] | null;

export interface Result<R> {
  readonly rows: R[];
  readonly affected: number;
}

export interface SqlStatement {
  readonly sql: string;
  readonly parameters: readonly Parameter[];
}

/** Runs one statement: by itself, or on the connection of a transaction. `?` stands for a parameter. */
export type Run = <R>(sql: string, parameters: readonly Parameter[]) => Promise<Result<R>>;

/** A connection of TypeORM's for one transaction. */
export interface Lent {
  readonly runner: QueryRunner;
  /**
   * Where the database takes both in one message: runs a statement, and commits if it affects a row. Else nothing is
   * committed, and the transaction is to be rolled back.
   */
  readonly last?: Run | undefined;
  /** @param isBroken nobody knows what state it is in: it is closed instead of being used again. */
  giveBack(isBroken: boolean): Promise<void>;
}

/** Asked right before a statement is sent: false calls it off. */
export type Wanted = () => boolean;

/** A statement was called off before it was sent. */
export class CalledOffError extends Error {
  override readonly name = 'CalledOffError';

  constructor() {
    super('Called off before it was sent');
  }
}

/** A statement that was the victim of others is sent again for this long, and once however long that took. */
const RETRY_FOR_MS = 2_000;

/**
 * Runs single statements on a DataSource, each committed by itself, never inside of the application's transactions.
 * One subclass a database: how it is asked, what its errors mean, its clock.
 */
export abstract class SqlDatabase {
  /** SQL of the database's clock: milliseconds since 1970 as an integer. */
  abstract readonly now: string;
  /** The same in microseconds. */
  abstract readonly micros: string;
  /** The functions that give the greatest and the least of their arguments. */
  readonly greatest: string = 'GREATEST';
  readonly least: string = 'LEAST';
  /** At the end of a SELECT inside a transaction: nobody else changes what it reads. */
  readonly forUpdate: string = ' FOR UPDATE';

  /** Whether the database says that a table, or a column of it, is not there. */
  abstract isSchemaMissing(error: unknown): boolean;

  /** Whether the connection broke while it was asked: nobody knows whether the statement was executed. */
  abstract isDisconnect(error: unknown): boolean;

  /** Whether a transaction, or a statement of it, was rolled back in favour of others and may be run again. */
  isConflict(error: unknown): boolean {
    return this.isTransient(error);
  }

  /** Whether the error has ended the transaction it came up in: what follows would be committed by itself. */
  endsTransaction(_error: unknown): boolean {
    return false;
  }

  /** Whether statements by themselves run beside a transaction that is open. */
  readonly isParallel: boolean = true;

  /** A connection for a transaction; the application's, as far as pools and settings are concerned. */
  abstract lend(): Promise<Lent>;

  /** Runs statements on a connection that was lent. */
  on(runner: QueryRunner): Run {
    return async <R>(sql: string, parameters: readonly Parameter[]): Promise<Result<R>> => {
      const { records, affected } = await runner.query(this.written(sql), [...parameters], true);
      return { rows: records as R[], affected: affected ?? 0 };
    };
  }

  /** What a transaction is begun with so that it is at least READ COMMITTED; undefined: nothing needs to be said. */
  abstract leastIsolation(): Promise<'READ COMMITTED' | undefined>;

  /** A statement with the database's own placeholders. */
  protected written(sql: string): string {
    return sql;
  }

  /** Whether the statement was rolled back in favour of another one and may be sent again. */
  protected abstract isTransient(error: unknown): boolean;

  protected abstract execute<R>(
    sql: string,
    parameters: readonly Parameter[],
    wanted?: Wanted,
  ): Promise<Result<R>>;

  /**
   * Runs one statement, again for a while when it was the victim of others. `?` stands for a parameter.
   *
   * @throws CalledOffError when it was not wanted any more.
   * @throws the client library's error.
   */
  run<R>(sql: string, parameters: readonly Parameter[], wanted?: Wanted): Promise<Result<R>> {
    return this.insist(() => this.execute<R>(sql, parameters, wanted), wanted);
  }

  /**
   * Runs statements in a transaction of their own, again for a while when it was the victim of others.
   *
   * @returns false when one of them affected no row; nothing was changed then.
   * @throws the client library's error.
   */
  together(statements: readonly SqlStatement[]): Promise<boolean> {
    return this.insist(() => this.executeTogether(statements));
  }

  protected abstract executeTogether(statements: readonly SqlStatement[]): Promise<boolean>;

  private async insist<T>(attempt: () => Promise<T>, wanted?: Wanted): Promise<T> {
    const giveUpAt = performance.now() + RETRY_FOR_MS;
    for (let pauseMs = 1; ; pauseMs = Math.min(2 * pauseMs, 64)) {
      try {
        return await attempt();
      } catch (error) {
        const isLate = pauseMs > 1 && performance.now() > giveUpAt;
        if (!this.isTransient(error) || isLate) throw error;
        await sleep(pauseMs * Math.random());
        if (wanted?.() === false) throw error;
      }
    }
  }
}

/**
 * @param ms undefined: waits for as long as it takes.
 * @throws Error when there is no answer within `ms` milliseconds.
 */
export function answered<T>(reply: Promise<T>, ms: number | undefined): Promise<T> {
  if (ms === undefined) return reply;
  return new Promise<T>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`No answer within ${ms} ms`)), ms);
    reply.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** `code` (or another property) of an error of a client library, which promises nothing about its class. */
export function property(error: unknown, name: string): unknown {
  return typeof error === 'object' && error !== null ? Reflect.get(error, name) : undefined;
}
