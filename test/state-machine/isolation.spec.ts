import { randomUUID } from 'node:crypto';
import type { DataSource, EntityManager } from 'typeorm';
import { MARIADB, POSTGRES } from '../stores/typeorm-flavours.js';
import { openShop, Order, orders, type Status } from './orders.js';

const LEVELS = ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'] as const;
/** The transaction is to be run again: serialization failure, deadlock, MariaDB's snapshot isolation. */
const AGAIN = ['40001', '40P01', 'ER_LOCK_DEADLOCK', 'ER_CHECKREAD'];

describe.each([POSTGRES, MARIADB])('$name', (flavour) => {
  let dataSource: DataSource;

  beforeAll(async () => {
    dataSource = await openShop(flavour);
  });

  async function newOrder(status: Status = 'PAID'): Promise<string> {
    const orderId = randomUUID();
    await dataSource.manager.insert(Order, { orderId, status });
    return orderId;
  }

  it.each(LEVELS)('%s: of 50 concurrent transactions exactly one wins', async (level) => {
    const orderId = await newOrder();
    const move = (refund: string) => (manager: EntityManager) =>
      orders.transition(manager, Order, orderId, 'REFUNDING', { refund });
    const outcomes = await Promise.all(
      Array.from({ length: 50 }, async (_, i) => {
        try {
          return (await dataSource.transaction(level, move(String(i)))).changed;
        } catch (error) {
          return (error as { code: string }).code;
        }
      }),
    );
    const winners = outcomes.flatMap((outcome, i) => (outcome === true ? [String(i)] : []));
    expect(winners).toHaveLength(1);
    const row = await dataSource.manager.findOneByOrFail(Order, { orderId });
    expect(row).toMatchObject({ status: 'REFUNDING', refund: winners[0], version: 2 });
    const failed = outcomes.filter((outcome) => typeof outcome === 'string');
    expect(AGAIN).toEqual(expect.arrayContaining(failed));
    // Who waits for the winner sees what he has left behind.
    expect(failed.length).toBeLessThanOrEqual(level === 'READ COMMITTED' ? 0 : 49);
  });

  /** A transaction that has looked at the row, before somebody else moves it. */
  function afterALook(level: (typeof LEVELS)[number], orderId: string, others: Status): Promise<unknown> {
    return dataSource.transaction(level, async (manager) => {
      await manager.findOneByOrFail(Order, { orderId });
      await dataSource.manager.update(Order, { orderId }, { status: others });
      return orders.transition(manager, Order, orderId, 'REFUNDING');
    });
  }

  const outcomeOf = (work: Promise<unknown>) =>
    work.catch((error: { code: string; from?: string }) =>
      AGAIN.includes(error.code) ? 'again' : error.from,
    );

  it('READ COMMITTED: what was seen before does not matter', async () => {
    const look = async (from: Status, others: Status) =>
      outcomeOf(afterALook('READ COMMITTED', await newOrder(from), others));
    expect(await look('PAID', 'REFUNDING')).toEqual({ changed: false });
    expect(await look('PAID', 'REFUNDED')).toBe('REFUNDED');
    expect(await look('REFUNDED', 'PAID')).toEqual({ changed: true });
  });

  it('REPEATABLE READ: nobody is told what was, but is not any more', async () => {
    const look = async (from: Status, others: Status) =>
      outcomeOf(afterALook('REPEATABLE READ', await newOrder(from), others));
    expect(['again', { changed: false }]).toContainEqual(await look('PAID', 'REFUNDING'));
    expect(['again', 'REFUNDED']).toContainEqual(await look('PAID', 'REFUNDED'));
    expect(['again', { changed: true }]).toContainEqual(await look('REFUNDED', 'PAID'));
  });

  it('two rows moved crosswise: at most one transaction is to be run again', async () => {
    const [a, b] = [await newOrder(), await newOrder()];
    const move = (first: string, second: string) =>
      dataSource.transaction('READ COMMITTED', async (manager) => {
        await orders.transition(manager, Order, first, 'REFUNDING');
        await orders.transition(manager, Order, second, 'REFUNDING');
      });
    const outcomes = await Promise.allSettled([move(a, b), move(b, a)]);
    const failed = outcomes.flatMap((one) =>
      one.status === 'rejected' ? [one.reason as { code: string }] : [],
    );
    expect(failed.length).toBeLessThan(2);
    for (const { code } of failed) expect(AGAIN).toContain(code);
    const rows = await dataSource.manager.findBy(Order, [{ orderId: a }, { orderId: b }]);
    expect(rows.map(({ status, version }) => [status, version])).toEqual([
      ['REFUNDING', 2],
      ['REFUNDING', 2],
    ]);
  });
});
