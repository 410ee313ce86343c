import { IllegalTransitionError } from 'nestjs-idempotent/stores/typeorm';
import { type DataSource, type EntityManager, QueryFailedError } from 'typeorm';
import { Order } from '../../orders/order.entity.js';
import { orderStates } from '../../orders/order.states.js';
import type { Outcome, RefundCommand, Scheme } from '../scheme.js';

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
    return async (command) => {
      const orderId = command.orderId;
      const order = await orderOf(dataSource, orderId, command);
      if (order.amount !== command.amount) return 'refused';
      if (!(await begin(dataSource, orderId))) return 'duplicate';
      const finish = async (manager: EntityManager): Promise<Outcome> => {
        await waitAtMost(manager, site.ttlMs / 4);
        const { changed } = await orderStates.transition(manager, Order, orderId, 'REFUNDED');
        if (!changed) return 'duplicate';
        site.note('moves the order from REFUNDING to REFUNDED');
        await site.bank.pay(command, { manager });
        return 'paid';
      };
      return dataSource.transaction('READ COMMITTED', finish).catch(inProgressIfLocked);
    };
  },
};

/** The customer has paid long ago; in the lab, when the first refund is asked for. */
async function orderOf(dataSource: DataSource, orderId: string, { amount }: RefundCommand): Promise<Order> {
  const order: Order = { orderId, amount, status: 'PAID', refundId: null };
  await dataSource.createQueryBuilder().insert().into(Order).values(order).orIgnore().execute();
  return dataSource.manager.findOneByOrFail(Order, { orderId });
}

/**
 * PAID to REFUNDING, a recovery point: who comes after a crash finds the order there, and goes on.
 *
 * @returns false when it was refunded before.
 */
async function begin({ manager }: DataSource, orderId: string): Promise<boolean> {
  try {
    await orderStates.transition(manager, Order, orderId, 'REFUNDING');
    return true;
  } catch (error) {
    if (error instanceof IllegalTransitionError && error.from === 'REFUNDED') return false;
    throw error;
  }
}

async function waitAtMost(manager: EntityManager, ms: number): Promise<void> {
  await manager.query(`SET LOCAL lock_timeout = ${Math.ceil(ms)}`);
}

/** What PostgreSQL says of a row that somebody else has had all the time: lock_not_available. */
function inProgressIfLocked(error: unknown): Outcome {
  if (error instanceof QueryFailedError && (error.driverError as { code?: unknown }).code === '55P03') {
    return 'in-progress';
  }
  throw error;
}
