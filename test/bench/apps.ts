import {
  Body,
  Controller,
  type DynamicModule,
  Module,
  type NestInterceptor,
  Post,
  type Type,
  UseInterceptors,
} from '@nestjs/common';
import { Redis } from 'ioredis';
import { Idempotent, IdempotencyModule, type IdempotencyModuleOptions, memoryStore } from 'nestjs-idempotent';
import { redisLock } from 'nestjs-idempotent/locks/redis';
import { redisStore } from 'nestjs-idempotent/stores/redis';
import { idempotencyEntities, typeOrmStore } from 'nestjs-idempotent/stores/typeorm';
import pg from 'pg';
import { DataSource } from 'typeorm';
import { LockAndRow, RedisOnly, StoredRow } from './floors.js';
import { transactionModule } from './transaction-apps.js';
import { FLOOR_TABLE, type Servers } from './variants.js';

interface Payment {
  readonly amount: number;
  readonly currency: string;
}

let payments = 0;

function pay({ amount, currency }: Payment): object {
  return { id: ++payments, amount, currency, status: 'paid' };
}

@Controller()
class BareController {
  @Post('payments')
  pay(@Body() payment: Payment): object {
    return pay(payment);
  }
}

@Controller()
class IdempotentController {
  @Post('payments')
  @Idempotent()
  pay(@Body() payment: Payment): object {
    return pay(payment);
  }

  /** For duplicates of a request that is still running. */
  @Post('slow')
  @Idempotent()
  async slow(@Body() payment: Payment): Promise<object> {
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    return pay(payment);
  }
}

function intercepted(interceptor: NestInterceptor, ofReplays = interceptor): Type {
  @Controller()
  class FloorController {
    @Post('payments')
    @UseInterceptors(interceptor)
    pay(@Body() payment: Payment): object {
      return pay(payment);
    }

    @Post('stored')
    @UseInterceptors(ofReplays)
    stored(@Body() payment: Payment): object {
      return pay(payment);
    }
  }
  return FloorController;
}

@Module({})
class AppModule {}

/** The module of a variant, and what it needs made ready. */
export async function moduleOf(name: string, servers: Servers): Promise<DynamicModule> {
  const { redisUrl, postgresUrl } = servers;
  switch (name) {
    case 'bare':
      return { module: AppModule, controllers: [BareController] };
    case 'floor-redis':
      return { module: AppModule, controllers: [intercepted(new RedisOnly(new Redis(redisUrl)))] };
    case 'floor-transaction':
    case 'floor-by-hand':
    case 'plain-transaction':
    case 'transactional':
    case 'transactional-named':
      return transactionModule(name, postgresUrl);
    case 'floor-redis-postgres': {
      const pool = new pg.Pool({ connectionString: postgresUrl });
      await pool.query(FLOOR_TABLE);
      const controller = intercepted(new LockAndRow(new Redis(redisUrl), pool), new StoredRow(pool));
      return { module: AppModule, controllers: [controller] };
    }
    default:
      return {
        module: AppModule,
        imports: [IdempotencyModule.forRoot(await optionsOf(name, servers))],
        controllers: [IdempotentController],
      };
  }
}

async function optionsOf(
  name: string,
  { redisUrl, postgresUrl }: Servers,
): Promise<IdempotencyModuleOptions> {
  const principal = () => 'acme';
  if (name === 'memory') return { principal, store: memoryStore() };
  const client = new Redis(redisUrl);
  if (name === 'redis') return { principal, store: redisStore({ client }) };
  const dataSource = await new DataSource({
    type: 'postgres',
    url: postgresUrl,
    entities: idempotencyEntities('postgres'),
    synchronize: true,
  }).initialize();
  const preparedStatements = name.endsWith('-named');
  return { principal, lock: redisLock({ client }), store: typeOrmStore({ dataSource, preparedStatements }) };
}
