import {
  type EntityManager,
  type EntityTarget,
  type FindOneOptions,
  type FindOptionsSelect,
  type FindOptionsWhere,
  In,
  IsNull,
  type ObjectLiteral,
  type UpdateQueryBuilder,
} from 'typeorm';
import {
  checkChanges,
  checkId,
  dataSourceOf,
  labelOf,
  type RowId,
  type StateColumn,
  stateColumnOf,
} from './state-column.js';
import {
  EntityMissingError,
  IllegalTransitionError,
  StateMachineError,
  TransitionContendedError,
} from './state-machine.errors.js';
import { TransitionGraph, type Transitions } from './transition-graph.js';

export interface StateMachineOptions<Column extends string> {
  /** The property of the entity that holds the state. @default 'status' */
  readonly column?: Column;
}

/** The states of a machine. */
export type StateOf<T extends Transitions> = Extract<keyof T, string> | T[keyof T][number];

/** Of those states the ones the entity's property can hold. */
export type StateIn<State extends string, Column extends string, E> = Column extends keyof E
  ? Extract<State, E[Column]>
  : never;

/** What is set in the same statement: values, or functions that give SQL, as in TypeORM's `update`. */
export type Changes<E extends ObjectLiteral, Column extends string> = Omit<SetOf<E>, Column>;

type SetOf<E extends ObjectLiteral> = Parameters<UpdateQueryBuilder<E>['set']>[0];

export interface Transition {
  /** False: it was there already, and nothing was changed. */
  readonly changed: boolean;
}

/** A row that others move to and fro is tried this often. */
const ATTEMPTS = 8;

/**
 * Moves rows of any entity from state to state, each time by one compare-and-set: an UPDATE whose condition is
 * that the row is in a state that leads to the wanted one. Of those who try at once exactly one changes the
 * row, without a lock, under every isolation level.
 *
 * The statements run on the manager you give, so in its transaction, if it has one. Errors of the database come
 * through as they are. Those for which the whole transaction is to be run again are among them: PostgreSQL's 40001
 * (REPEATABLE READ and SERIALIZABLE: somebody else has moved the row since the transaction began to read), deadlocks,
 * MariaDB's 1020 (`innodb_snapshot_isolation`), SQLite's SQLITE_BUSY.
 */
export class StateMachine<State extends string, Column extends string = 'status'> {
  readonly #graph: TransitionGraph;
  readonly #column: Column;

  /** @throws StateMachineError when the transitions are not what they should be. */
  constructor(transitions: Transitions, options: StateMachineOptions<Column> = {}) {
    this.#graph = new TransitionGraph(transitions);
    this.#column = options.column ?? ('status' as Column);
    if (typeof this.#column !== 'string' || this.#column === '') {
      throw new StateMachineError(
        `stateMachine(transitions, { column }): column is ${JSON.stringify(this.#column)}; ` +
          `it must be the name of a property`,
      );
    }
  }

  get states(): readonly State[] {
    return this.#graph.states as readonly State[];
  }

  /** Where a state leads. */
  allowedFrom(state: State): readonly State[] {
    return this.#graph.from(state) as readonly State[];
  }

  /**
   * Moves a row to the state `to`, and sets `set` in the same statement. A row that is there already is left alone:
   * `set` then tells nothing of who moved it. Whoever has to know puts his own id into `set` and compares it.
   *
   * @throws IllegalTransitionError when its state does not lead there.
   * @throws EntityMissingError when there is no such row, or it is deleted softly.
   * @throws TransitionContendedError when others kept moving it.
   * @throws StateMachineError when state, column, entity or id are not what they should be.
   */
  async transition<E extends ObjectLiteral>(
    manager: EntityManager,
    target: EntityTarget<E>,
    id: RowId,
    to: StateIn<State, Column, E>,
    set: Changes<E, Column> = {} as Changes<E, Column>,
  ): Promise<Transition> {
    const origins = this.#graph.to(to);
    const column = stateColumnOf(manager, target, this.#column);
    checkId(column, id);
    checkChanges(column, set);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (origins.length && (await compareAndSet(manager, target, column, id, origins, to, set))) {
        return { changed: true };
      }
      const from = await stateOf(manager, target, column, id);
      if (from === undefined) throw new EntityMissingError(labelOf(column, id));
      if (from === to) return { changed: false };
      // It came into a state that leads there after the UPDATE had passed it by.
      if (from !== null && origins.includes(from)) continue;
      throw new IllegalTransitionError(labelOf(column, id), from, to, this.#graph.from(from));
    }
    throw new TransitionContendedError(labelOf(column, id), to);
  }
}

/**
 * A state machine over a column of any TypeORM entity.
 *
 * @example
 * ```ts
 * const orders = stateMachine({ PAID: ['REFUNDING'], REFUNDING: ['REFUNDED', 'PAID'] });
 * const { changed } = await orders.transition(manager, Order, orderId, 'REFUNDING', { refundId });
 * ```
 * @param transitions where each state can go.
 * @throws StateMachineError when they are not what they should be.
 */
export function stateMachine<const T extends Transitions, const Column extends string = 'status'>(
  transitions: T,
  options?: StateMachineOptions<Column>,
): StateMachine<StateOf<T>, Column> {
  return new StateMachine<StateOf<T>, Column>(transitions, options);
}

async function compareAndSet<E extends ObjectLiteral>(
  manager: EntityManager,
  target: EntityTarget<E>,
  { primary, state, deletedAt }: StateColumn,
  id: RowId,
  origins: readonly string[],
  to: string,
  set: object,
): Promise<boolean> {
  const { affected } = await manager
    .createQueryBuilder()
    .update(target)
    .set({ ...set, [state]: to } as unknown as SetOf<E>)
    .where({ [primary]: id, [state]: In(origins), ...(deletedAt && { [deletedAt]: IsNull() }) })
    .execute();
  return affected === 1;
}

/**
 * The state as it is now: undefined when there is no such row.
 *
 * In a transaction the row is locked as it is read. Under REPEATABLE READ a mere SELECT would tell what was there when
 * the transaction began, while MySQL's UPDATE has looked at what is there now; PostgreSQL says instead that the
 * transaction is to be run again. SQLite has one writer, which is whoever has just updated.
 */
async function stateOf<E extends ObjectLiteral>(
  manager: EntityManager,
  target: EntityTarget<E>,
  { primary, state }: StateColumn,
  id: RowId,
): Promise<string | null | undefined> {
  const row = await manager.findOne(target, {
    select: { [primary]: true, [state]: true } as FindOptionsSelect<E>,
    where: { [primary]: id } as FindOptionsWhere<E>,
    loadEagerRelations: false,
    ...(manager.queryRunner?.isTransactionActive && lockOf(manager)),
  });
  return row === null ? undefined : (row[state] as string | null);
}

function lockOf(manager: EntityManager): Pick<FindOneOptions, 'lock'> | undefined {
  switch (dataSourceOf(manager).options.type) {
    case 'postgres':
      // What an UPDATE takes: rows that refer to this one can still be inserted.
      return { lock: { mode: 'for_no_key_update' } };
    case 'mysql':
    case 'mariadb':
      return { lock: { mode: 'pessimistic_write' } };
    default:
      return undefined;
  }
}
