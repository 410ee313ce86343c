import { NestFactory } from '@nestjs/core';
import {
  IdempotencyError,
  IdempotencyModule,
  IdempotencyService,
  type LockDriver,
  type ResultStore,
} from 'nestjs-idempotent';
import { shardedStore, typeOrmStore } from 'nestjs-idempotent/stores/typeorm';
import type { Outcome, Refund, RefundCommand, Site } from '../scheme.js';

/**
 * Refunds once per order, by `IdempotencyService`, as the consumer of a queue uses it.
 *
 * An order of the shop's own database is paid in the transaction that its answer is recorded in. That cannot be where the
 * ledger is in another database than the answer (the shop is split into shards), nor on SQLite, which is one connection.
 */
export async function idempotentRefund(site: Site, lock?: LockDriver): Promise<Refund> {
  const dataSource = await site.database();
  const transactional = dataSource.options.type !== 'better-sqlite3';
  const ofShop = await open(site, typeOrmStore({ dataSource }), lock, transactional);
  let ofShards: Promise<IdempotencyService> | undefined;
  return async (command) => {
    if (command.shard === 0) return refundOnce(site, ofShop, command);
    ofShards ??= site.databases().then((databases) => {
      const shards = databases.map((shard) => typeOrmStore({ dataSource: shard }));
      return open(site, shardedStore({ shards }), lock, false);
    });
    return refundOnce(site, await ofShards, command);
  };
}

async function open(
  site: Site,
  store: ResultStore,
  lock: LockDriver | undefined,
  transactional: boolean,
): Promise<IdempotencyService> {
  const module = IdempotencyModule.forRoot({
    principal: 'none',
    store,
    lock,
    transactional,
    leaseMs: site.ttlMs,
  });
  const app = await NestFactory.createApplicationContext(module, { logger: false });
  site.onClose(() => app.close());
  return app.get(IdempotencyService);
}

async function refundOnce(site: Site, service: IdempotencyService, command: RefundCommand): Promise<Outcome> {
  const { orderId, amount } = command;
  const request = { scope: 'refund', key: orderId, payload: { orderId, amount } };
  try {
    const { replayed } = await service.run(request, async (context) => {
      site.note(`owns the key, attempt ${context.attempt}`);
      const { fence } = context;
      const manager = context.isTransactional ? context.manager : undefined;
      if (!(await site.bank.pay(command, { fence, manager })))
        throw new Error('A later owner of the key has paid');
    });
    return replayed ? 'duplicate' : 'paid';
  } catch (error) {
    return outcomeOf(error);
  }
}

function outcomeOf(error: unknown): Outcome {
  if (!(error instanceof IdempotencyError)) throw error;
  switch (error.code) {
    case 'in-progress':
    case 'lease-lost':
      return 'in-progress';
    case 'key-reused':
      return 'refused';
    default:
      throw error;
  }
}
