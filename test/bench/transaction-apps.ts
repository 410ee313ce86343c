/** The same handler, which writes a row: in a plain transaction, and in one that its answer is recorded in. */
import { Body, Controller, type DynamicModule, Module, Post } from '@nestjs/common';
import { IdempotencyContext, IdempotencyCtx, IdempotencyModule, Idempotent } from 'nestjs-idempotent';
import { idempotencyEntities, typeOrmStore } from 'nestjs-idempotent/stores/typeorm';
import { DataSource, type EntityManager } from 'typeorm';
import { LEDGER_TABLE } from './variants.js';

interface Payment {
  readonly amount: number;
  readonly currency: string;
}

export type TransactionVariant = 'floor-transaction' | 'plain-transaction' | 'transactional';

@Module({})
class TransactionModule {}

export async function transactionModule(variant: TransactionVariant, url: string): Promise<DynamicModule> {
  const dataSource = await new DataSource({
    type: 'postgres',
    url,
    entities: idempotencyEntities('postgres'),
    synchronize: true,
  }).initialize();
  await dataSource.query(LEDGER_TABLE);
  const module = { module: TransactionModule, controllers: [controllerOf(variant, dataSource)] };
  if (variant === 'floor-transaction') return module;
  const transactional = variant === 'transactional';
  const options = { principal: () => 'acme', store: typeOrmStore({ dataSource }), transactional };
  return { ...module, imports: [IdempotencyModule.forRoot(options)] };
}

async function write(manager: EntityManager, { amount, currency }: Payment): Promise<object> {
  const sql = 'INSERT INTO ledger (amount, currency) VALUES ($1, $2) RETURNING id';
  const [{ id }] = await manager.query<[{ id: string }]>(sql, [amount, currency]);
  return { id, amount, currency, status: 'paid' };
}

function controllerOf(variant: TransactionVariant, dataSource: DataSource) {
  const inPlainTransaction = (payment: Payment) =>
    dataSource.transaction((manager) => write(manager, payment));

  @Controller()
  class FloorController {
    @Post('payments')
    pay(@Body() payment: Payment): Promise<object> {
      return inPlainTransaction(payment);
    }
  }

  @Controller()
  class IdempotentController {
    @Post('payments')
    @Idempotent()
    pay(@Body() payment: Payment, @IdempotencyCtx() ctx: IdempotencyContext): Promise<object> {
      return ctx.isTransactional ? write(ctx.manager, payment) : inPlainTransaction(payment);
    }

    @Post('slow')
    @Idempotent()
    async slow(@Body() payment: Payment, @IdempotencyCtx() ctx: IdempotencyContext): Promise<object> {
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      return ctx.isTransactional ? write(ctx.manager, payment) : inPlainTransaction(payment);
    }
  }
  return variant === 'floor-transaction' ? FloorController : IdempotentController;
}
