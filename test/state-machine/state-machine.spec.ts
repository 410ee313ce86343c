import { randomUUID } from 'node:crypto';
import {
  EntityMissingError,
  IllegalTransitionError,
  TransitionContendedError,
} from 'nestjs-idempotent/stores/typeorm';
import type { DataSource, EntityManager } from 'typeorm';
import { FLAVOURS, Lamp, lamps, openShop, Order, orders, type Status } from './orders.js';

describe.each(FLAVOURS)('$name', (flavour) => {
  let dataSource: DataSource;
  const statements: string[] = [];

  beforeAll(async () => {
    dataSource = await openShop(flavour, undefined, statements);
  });

  async function newOrder(status: Status = 'PAID'): Promise<string> {
    const orderId = randomUUID();
    await dataSource.manager.insert(Order, { orderId, status });
    return orderId;
  }

  const read = (orderId: string) =>
    dataSource.manager.findOneOrFail(Order, { where: { orderId }, withDeleted: true });

  it('moves a row and sets the rest in one statement', async () => {
    const [orderId, other] = [await newOrder(), await newOrder()];
    statements.length = 0;
    const answer = await orders.transition(dataSource.manager, Order, orderId, 'REFUNDING', {
      refund: 'mine',
    });
    expect(answer).toEqual({ changed: true });
    expect(statements).toEqual([expect.stringMatching(/^UPDATE/)]);
    expect(await read(orderId)).toMatchObject({ status: 'REFUNDING', refund: 'mine', version: 2 });
    expect(await read(other)).toMatchObject({ status: 'PAID', refund: null, version: 1 });
  });

  it('a repeated transition is answered as there already, and changes nothing', async () => {
    const orderId = await newOrder();
    await orders.transition(dataSource.manager, Order, orderId, 'REFUNDING', { refund: 'first' });
    const again = await orders.transition(dataSource.manager, Order, orderId, 'REFUNDING', {
      refund: 'second',
    });
    expect(again).toEqual({ changed: false });
    expect(await read(orderId)).toMatchObject({ refund: 'first', version: 2 });
  });

  it('an illegal transition is refused and tells from, to and what is allowed', async () => {
    const orderId = await newOrder('REFUNDING');
    await orders.transition(dataSource.manager, Order, orderId, 'REFUNDED');
    const refused = orders.transition(dataSource.manager, Order, orderId, 'REFUNDING', { refund: 'x' });
    const error: unknown = await refused.catch((error: unknown) => error);
    expect(error).toBeInstanceOf(IllegalTransitionError);
    expect(error).toMatchObject({
      code: 'illegal-transition',
      from: 'REFUNDED',
      to: 'REFUNDING',
      allowed: [],
    });
    expect((error as IllegalTransitionError).getStatus()).toBe(409);
    expect((error as IllegalTransitionError).getResponse()).toEqual({
      type: 'urn:nestjs-idempotent:illegal-transition',
      title: 'The present state does not allow this transition',
      status: 409,
      code: 'illegal-transition',
      detail: `Order ${orderId} is REFUNDED; from there it can go nowhere, not to REFUNDING.`,
      from: 'REFUNDED',
      to: 'REFUNDING',
      allowed: [],
    });
    expect(await read(orderId)).toMatchObject({ status: 'REFUNDED', refund: null, version: 2 });
    const early = orders.transition(dataSource.manager, Order, await newOrder(), 'REFUNDED');
    await expect(early).rejects.toMatchObject({ from: 'PAID', to: 'REFUNDED', allowed: ['REFUNDING'] });
  });

  it('a row that is not there, or deleted softly, is missing', async () => {
    const gone = await newOrder();
    await dataSource.manager.softDelete(Order, { orderId: gone });
    for (const orderId of ['nobody', gone]) {
      const refused = orders.transition(dataSource.manager, Order, orderId, 'REFUNDING');
      const error: unknown = await refused.catch((error: unknown) => error);
      expect(error).toBeInstanceOf(EntityMissingError);
      expect(error).toMatchObject({
        code: 'entity-missing',
        message: expect.stringContaining(`no Order ${orderId}`),
      });
    }
    expect(await read(gone)).toMatchObject({ status: 'PAID' });
  });

  it('a state the machine does not know leads nowhere', async () => {
    const orderId = await newOrder('LOST' as Status);
    const refused = orders.transition(dataSource.manager, Order, orderId, 'REFUNDING');
    await expect(refused).rejects.toMatchObject({ from: 'LOST', allowed: [] });
  });

  it('a column with a transformer and a name of its own', async () => {
    await dataSource.manager.insert(Lamp, { id: 1, light: 'OFF' });
    const { manager } = dataSource;
    expect(await lamps.transition(manager, Lamp, 1, 'ON')).toEqual({ changed: true });
    expect(await lamps.transition(manager, Lamp, 1, 'ON')).toEqual({ changed: false });
    expect(await lamps.transition(manager, Lamp, 1, 'OFF')).toEqual({ changed: true });
    expect(await manager.findOneBy(Lamp, { id: 1 })).toEqual({ id: 1, light: 'OFF' });
  });

  it('of 50 concurrent transitions exactly one wins, and its values are there', async () => {
    for (let round = 0; round < 3; round++) {
      const orderId = await newOrder();
      const answers = await Promise.all(
        Array.from({ length: 50 }, (_, i) =>
          orders.transition(dataSource.manager, Order, orderId, 'REFUNDING', { refund: String(i) }),
        ),
      );
      const winners = answers.flatMap(({ changed }, i) => (changed ? [String(i)] : []));
      expect(winners).toHaveLength(1);
      expect(await read(orderId)).toMatchObject({ refund: winners[0], version: 2 });
    }
  });

  it('a transition rolls back with the transaction it is in', async () => {
    const orderId = await newOrder();
    const work = dataSource.transaction(async (manager) => {
      await orders.transition(manager, Order, orderId, 'REFUNDING');
      throw new Error('no');
    });
    await expect(work).rejects.toThrow('no');
    expect(await read(orderId)).toMatchObject({ status: 'PAID', version: 1 });
  });

  it('a row that comes into the right state right after the UPDATE has passed it is moved', async () => {
    const orderId = await newOrder('REFUNDED');
    let looks = 0;
    const manager = lookingAfter(dataSource.manager, async () => {
      if (++looks === 1) await dataSource.manager.update(Order, { orderId }, { status: 'PAID' });
    });
    expect(await orders.transition(manager, Order, orderId, 'REFUNDING')).toEqual({ changed: true });
    expect(looks).toBe(1);
  });

  it('a row that never stands still is given up', async () => {
    const orderId = await newOrder('REFUNDED');
    // Outside of the machine it is brought where it could go from, and away again once that was seen.
    const flickering = lookingAfter(
      dataSource.manager,
      () => dataSource.manager.update(Order, { orderId }, { status: 'PAID' }),
      () => dataSource.manager.update(Order, { orderId }, { status: 'REFUNDED' }),
    );
    const refused = orders.transition(flickering, Order, orderId, 'REFUNDING');
    const error: unknown = await refused.catch((error: unknown) => error);
    expect(error).toBeInstanceOf(TransitionContendedError);
    expect(error).toMatchObject({ code: 'transition-contended', status: 409 });
  });
});

/** A manager that lets others act before, and after, each look at a row. */
function lookingAfter(
  manager: EntityManager,
  before: () => Promise<unknown>,
  after: () => Promise<unknown> = async () => undefined,
): EntityManager {
  const findOne = async (...[target, options]: Parameters<EntityManager['findOne']>) => {
    await before();
    const row = await manager.findOne(target, options);
    await after();
    return row;
  };
  return Object.assign(Object.create(manager) as EntityManager, { findOne });
}
