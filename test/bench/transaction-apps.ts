/** The same handler, which writes a row: in a plain transaction, and in one that its answer is recorded in. */
import { randomUUID } from 'node:crypto';
import {
  Body,
  ConflictException,
  Controller,
  type DynamicModule,
  Headers,
  Module,
  Post,
} from '@nestjs/common';
import { IdempotencyContext, IdempotencyCtx, IdempotencyModule, Idempotent } from 'nestjs-idempotent';
import { idempotencyEntities, typeOrmStore } from 'nestjs-idempotent/stores/typeorm';
import { DataSource, type EntityManager } from 'typeorm';
import { TRANSACTION_TABLES } from './variants.js';

interface Payment {
  readonly amount: number;
  readonly currency: string;
}

export type TransactionVariant =
  'floor-transaction' | 'floor-by-hand' | 'plain-transaction' | 'transactional' | 'transactional-named';

@Module({})
class TransactionModule {}

export async function transactionModule(variant: TransactionVariant, url: string): Promise<DynamicModule> {
  const dataSource = await new DataSource({
    type: 'postgres',
    url,
    entities: idempotencyEntities('postgres'),
    synchronize: true,
  }).initialize();
  await dataSource.query(TRANSACTION_TABLES);
  const module = { module: TransactionModule, controllers: [controllerOf(variant, dataSource)] };
  if (variant.startsWith('floor')) return module;
  const transactional = variant.startsWith('transactional');
  const store = typeOrmStore({ dataSource, preparedStatements: variant === 'transactional-named' });
  const options = { principal: () => 'acme', store, transactional };
  return { ...module, imports: [IdempotencyModule.forRoot(options)] };
}

async function write(manager: EntityManager, { amount, currency }: Payment): Promise<object> {
  const sql = 'INSERT INTO ledger (amount, currency) VALUES ($1, $2) RETURNING id';
  const [{ id }] = await manager.query<[{ id: string }]>(sql, [amount, currency]);
  return { id, amount, currency, status: 'paid' };
}

/** The least that runs once: no fingerprint, no renewal, no headers. A replay is not told from a first answer. */
async function onceByHand(dataSource: DataSource, key: string, payment: Payment): Promise<object> {
  const token = randomUUID();
  const claimed = await dataSource.query<unknown[]>(
    `INSERT INTO claim (key, token, lease_until) VALUES ($1, $2, now() + interval '30 s')
     ON CONFLICT (key) DO NOTHING RETURNING key`,
    [key, token],
  );
  if (claimed.length === 0) {
    const [stored] = await dataSource.query<{ answer: string | null }[]>(
      'SELECT answer FROM claim WHERE key = $1',
      [key],
    );
    if (!stored?.answer) throw new ConflictException();
    return JSON.parse(stored.answer);
  }
  return dataSource.transaction(async (manager) => {
    const answer = await write(manager, payment);
    const [, completed] = await manager.query<[unknown, number]>(
      'UPDATE claim SET answer = $3 WHERE key = $1 AND token = $2',
      [key, token, JSON.stringify(answer)],
    );
    if (completed === 0) throw new ConflictException();
    return answer;
  });
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
  class ByHandController {
    @Post('payments')
    pay(@Headers('idempotency-key') key: string, @Body() payment: Payment): Promise<object> {
      return onceByHand(dataSource, key, payment);
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
  if (variant === 'floor-by-hand') return ByHandController;
  return variant === 'floor-transaction' ? FloorController : IdempotentController;
}
