import { Body, Controller, Post } from '@nestjs/common';
import {
  IdempotencyContext,
  IdempotencyCtx,
  Idempotent,
  type IdempotencyModuleOptions,
} from 'nestjs-idempotent';
import type { DataSource, DataSourceOptions } from 'typeorm';
import { type Flavour, open, openMigrated, storeOf } from '../stores/typeorm-flavours.js';
import { type AppOptions, startApp, type TestApp } from '../support/http-app.js';

/** What a test has its handlers do. */
export type Work = (ctx: IdempotencyContext) => unknown;

/** A database with a ledger, and apps on it. */
export class Bank implements AsyncDisposable {
  private readonly dataSources: DataSource[] = [];
  private readonly apps: TestApp[] = [];
  /** Never in a transaction: sees what is committed. */
  readonly witness: DataSource;

  private constructor(
    private readonly flavour: Flavour,
    readonly options: DataSourceOptions,
    witness: DataSource,
  ) {
    this.witness = witness;
    this.dataSources.push(witness);
  }

  static async open(flavour: Flavour): Promise<Bank> {
    const options = await flavour.create();
    const witness = await openMigrated(options);
    await witness.query('CREATE TABLE ledger (account varchar(100), payer varchar(100))');
    await witness.query('CREATE TABLE counter (name varchar(100) PRIMARY KEY, n integer)');
    // Waiting for the file would stop those it waits for: they are in the same process.
    if (options.type === 'better-sqlite3') await witness.query('PRAGMA busy_timeout = 0');
    return new Bank(flavour, options, witness);
  }

  /** An app with connections of its own, as in a process of its own. */
  async app(
    work: Work,
    module: Partial<IdempotencyModuleOptions> = {},
    { sql = {}, ...options }: Partial<AppOptions> & { sql?: object } = {},
  ): Promise<TestApp> {
    const dataSource = await open(this.options, sql);
    this.dataSources.push(dataSource);
    @Controller()
    class PaymentController {
      @Post('pay')
      @Idempotent({ scope: 'pay' })
      pay(@Body() _body: object, @IdempotencyCtx() ctx: IdempotencyContext): unknown {
        return work(ctx);
      }

      @Post('optional')
      @Idempotent({ scope: 'optional', required: false })
      payWithoutKey(@IdempotencyCtx() ctx: IdempotencyContext): unknown {
        return work(ctx);
      }
    }
    const store = storeOf(this.flavour, dataSource);
    const app = await startApp({
      controllers: [PaymentController],
      module: { store, transactional: true, ...module },
      ...options,
    });
    this.apps.push(app);
    return app;
  }

  /** Who paid out to an account, as far as is committed. */
  async payers(account: string): Promise<string[]> {
    const rows = await this.witness.query<{ payer: string }[]>(
      `SELECT payer FROM ledger WHERE account = '${account}' ORDER BY payer`,
    );
    return rows.map(({ payer }) => payer);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async close(): Promise<void> {
    await Promise.all(this.apps.map((app) => app.close()));
    await Promise.all(this.dataSources.map((dataSource) => dataSource.destroy()));
  }
}

export async function pay(ctx: IdempotencyContext, payer = 'p'): Promise<void> {
  await ctx.manager.query(`INSERT INTO ledger (account, payer) VALUES ('${ctx.key}', '${payer}')`);
}
