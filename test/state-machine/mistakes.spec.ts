import { StateMachineError, stateMachine } from 'nestjs-idempotent/stores/typeorm';
import { Column, type DataSource, Entity, PrimaryColumn } from 'typeorm';
import { SQLITE } from '../stores/typeorm-flavours.js';
import { Lamp, lamps, openShop, Order, orders } from './orders.js';

@Entity()
class Line {
  @PrimaryColumn('varchar')
  order!: string;

  @PrimaryColumn('integer')
  position!: number;

  @Column('varchar')
  status!: 'PAID' | 'REFUNDING';
}

class Money {
  @Column('varchar')
  status!: 'PAID' | 'REFUNDING';
}

@Entity()
class Frozen {
  @PrimaryColumn('varchar')
  id!: string;

  @Column({ type: 'varchar', update: false })
  status!: 'PAID' | 'REFUNDING';

  @Column(() => Money)
  money!: Money;
}

class Stranger {
  status!: 'PAID' | 'REFUNDING';
}

describe('transitions', () => {
  it.each([
    [undefined, 'there are none'],
    [{}, `say where each state can go, e.g. { PAID: ['REFUNDING'] }`],
    [{ PAID: 'REFUNDING' }, 'PAID is "REFUNDING"; it must be a list of states, or []'],
    [{ PAID: [null] }, 'PAID leads to null; a state is a text'],
    [{ PAID: [''] }, 'PAID leads to ""'],
    [{ PAID: ['PAID'] }, 'PAID leads to itself; leave that out'],
  ])('%j is refused', (transitions, message) => {
    expect(() => stateMachine(transitions as never)).toThrow(StateMachineError);
    expect(() => stateMachine(transitions as never)).toThrow(message);
  });

  it('a column that is no name is refused', () => {
    expect(() => stateMachine({ A: ['B'] }, { column: '' })).toThrow('column is ""; it must be the name of');
  });

  it('are told', () => {
    expect(orders.states).toEqual(['PAID', 'REFUNDING', 'REFUNDED']);
    expect(orders.allowedFrom('REFUNDING')).toEqual(['REFUNDED', 'PAID']);
    expect(orders.allowedFrom('REFUNDED')).toEqual([]);
  });
});

describe('a call', () => {
  let dataSource: DataSource;

  beforeAll(async () => {
    dataSource = await openShop(SQLITE, [Order, Lamp, Line, Frozen]);
    await dataSource.manager.insert(Order, { orderId: 'order', status: 'PAID' });
  });

  const refused = async (work: Promise<unknown>, message: string) => {
    await expect(work).rejects.toThrow(StateMachineError);
    await expect(work).rejects.toThrow(message);
    expect(await dataSource.manager.findOneByOrFail(Order, { orderId: 'order' })).toMatchObject({
      status: 'PAID',
    });
  };

  it('with an unknown state is refused', async () => {
    const { manager } = dataSource;
    const work = orders.transition(manager, Order, 'order', 'LOST' as never);
    await refused(work, '"LOST" is no state of this machine; its states are PAID, REFUNDING, REFUNDED');
    // An object has more properties than it was given.
    await refused(orders.transition(manager, Order, 'order', 'constructor' as never), 'is no state');
  });

  it('on an entity that does not fit is refused', async () => {
    const { manager } = dataSource;
    await refused(
      lamps.transition(manager, Order, 'order', 'ON' as never),
      'Order has no column "light"; name the property that holds the state with stateMachine(transitions, ' +
        '{ column }): one of status, refund, version, deletedAt',
    );
    await refused(
      orders.transition(manager, Line, 'order', 'REFUNDING'),
      'Line must have one primary column outside of embedded objects, so that one id names a row; it has order, position',
    );
    await refused(orders.transition(manager, Frozen, 'id', 'REFUNDING'), 'declared with update: false');
    await refused(orders.transition(manager, Stranger, 'id', 'REFUNDING'), 'Stranger is no entity of');
    const nested = stateMachine({ PAID: ['REFUNDING'] }, { column: 'money.status' });
    await refused(nested.transition(manager, Frozen, 'id', 'REFUNDING' as never), 'has no column');
    const primary = stateMachine({ a: ['b'] }, { column: 'orderId' });
    await refused(primary.transition(manager, Order, 'order', 'b'), 'is its primary column');
  });

  it.each([undefined, null, Number.NaN, {}, ['order'], true])('with the id %p is refused', async (id) => {
    const work = orders.transition(dataSource.manager, Order, id as never, 'REFUNDING');
    await refused(work, 'it must be a value of "orderId": a text, a number, a bigint or bytes');
  });

  it('that sets the state or the id along is refused', async () => {
    const { manager } = dataSource;
    const state = orders.transition(manager, Order, 'order', 'REFUNDING', { status: 'PAID' } as never);
    await refused(state, '"status" of Order cannot be in what is set along: it is what the transition sets');
    const id = orders.transition(manager, Order, 'order', 'REFUNDING', { orderId: 'other' });
    await refused(id, '"orderId" of Order cannot be in what is set along: it names the row');
  });

  it('is checked by the compiler', () => {
    const { manager } = dataSource;
    const calls = () => [
      // @ts-expect-error no state of the machine
      orders.transition(manager, Order, 'order', 'LOST'),
      // @ts-expect-error no column of that name
      orders.transition(manager, Lamp, 1, 'PAID'),
      // @ts-expect-error no property of the entity
      orders.transition(manager, Order, 'order', 'REFUNDING', { refundId: '1' }),
      // @ts-expect-error what the transition sets itself
      orders.transition(manager, Order, 'order', 'REFUNDING', { status: 'PAID' }),
      // @ts-expect-error a state the entity cannot hold
      stateMachine({ PAID: ['LOST'] }).transition(manager, Order, 'order', 'LOST'),
    ];
    expect(calls).toBeInstanceOf(Function);
  });
});
