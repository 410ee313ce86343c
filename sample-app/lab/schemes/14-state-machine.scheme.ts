import { IllegalTransitionError } from 'nestjs-idempotent/stores/typeorm';
import { type DataSource, type EntityManager, QueryFailedError } from 'typeorm';
import { Order } from '../../orders/order.entity.js';
import { orderStates } from '../../orders/order.states.js';
import type { Outcome, RefundCommand, Scheme, Site } from '../scheme.js';

export const stateMachineOfOrders: Scheme = {
  id: 'state-machine',
  number: 14,
  kind: 'shipped',
  name: 'State machine',
  claim:
    'The order goes from PAID to REFUNDING to REFUNDED, each time by one compare-and-set, the last together with the payout.',
  needs: ['database'],
  async open(site) {
    const dataSource = await site.database();
    const { type } = dataSource.options;
    if (type !== 'postgres') {
      throw new Error(`It waits for a locked row as PostgreSQL does it; the database of the lab is ${type}`);
    }
    const waitMs = Math.ceil(site.ttlMs / 4);
    return async (command) => {
      try {
        const begun = await bounded(dataSource, waitMs, (manager) => begin(manager, command));
        if (begun !== 'begun') return begun;
        return await bounded(dataSource, waitMs, (manager) => finish(manager, command, site));
      } catch (error) {
        if (isLocked(error)) return 'in-progress';
        throw error;
      }
    };
  },
};

/** Committed, this is a recovery point: who comes after a crash finds the order REFUNDING, and goes on. */
async function begin(manager: EntityManager, { orderId, amount }: RefundCommand): Promise<Outcome | 'begun'> {
  // The customer has paid long ago; in the lab, when the first refund is asked for.
  const paid: Order = { orderId, amount, status: 'PAID', refundId: null };
  await manager.createQueryBuilder().insert().into(Order).values(paid).orIgnore().execute();
  const order = await manager.findOneByOrFail(Order, { orderId });
  if (order.amount !== amount) return 'refused';
  try {
    await orderStates.transition(manager, Order, orderId, 'REFUNDING');
    return 'begun';
  } catch (error) {
    if (error instanceof IllegalTransitionError && error.from === 'REFUNDED') return 'duplicate';
    throw error;
  }
}

async function finish(manager: EntityManager, command: RefundCommand, site: Site): Promise<Outcome> {
  const { changed } = await orderStates.transition(manager, Order, command.orderId, 'REFUNDED');
  if (!changed) return 'duplicate';
  site.note('moves the order from REFUNDING to REFUNDED');
  await site.bank.pay(command, { manager });
  return 'paid';
}

/** A transaction that waits no longer than that for a row which another one has locked. */
async function bounded<T>(
  dataSource: DataSource,
  waitMs: number,
  work: (manager: EntityManager) => Promise<T>,
): Promise<T> {
  return dataSource.transaction('READ COMMITTED', async (manager) => {
    await manager.query(`SET LOCAL lock_timeout = ${waitMs}`);
    return work(manager);
  });
}

/** What PostgreSQL says of a row that somebody else has had all the time: lock_not_available. */
function isLocked(error: unknown): boolean {
  return error instanceof QueryFailedError && (error.driverError as { code?: unknown }).code === '55P03';
}
