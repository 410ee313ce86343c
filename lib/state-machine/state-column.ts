import type { DataSource, EntityManager, EntityMetadata, EntityTarget, ObjectLiteral } from 'typeorm';
import { StateMachineError } from './state-machine.errors.js';

/** What names a row. */
export type RowId = string | number | bigint | Uint8Array;

/** Where the state of an entity is kept, checked against its metadata. */
export interface StateColumn {
  readonly entity: string;
  /** Properties of the entity. */
  readonly primary: string;
  readonly state: string;
  readonly deletedAt: string | undefined;
}

/** @throws StateMachineError naming what does not fit, and what would. */
export function stateColumnOf<E extends ObjectLiteral>(
  manager: EntityManager,
  target: EntityTarget<E>,
  property: string,
): StateColumn {
  const dataSource = dataSourceOf(manager);
  if (!dataSource.hasMetadata(target)) {
    throw new StateMachineError(
      `${nameOf(target)} is no entity of the manager's DataSource; add it to "entities" of that DataSource`,
    );
  }
  const metadata = dataSource.getMetadata(target);
  return {
    entity: metadata.name,
    primary: primaryOf(metadata),
    state: stateOf(metadata, property),
    deletedAt: metadata.deleteDateColumn?.propertyName,
  };
}

/** TypeORM 0.3 called it `connection`. */
export function dataSourceOf(manager: EntityManager): DataSource {
  return manager.dataSource ?? manager.connection;
}

/** For messages: the entity and the id. */
export function labelOf({ entity }: StateColumn, id: RowId): string {
  return `${entity} ${id instanceof Uint8Array ? Buffer.from(id).toString('hex') : id}`;
}

/** An id that is not there would be a condition that is not there: every row. @throws StateMachineError */
export function checkId({ entity, primary }: StateColumn, id: unknown): void {
  const isId = ['string', 'number', 'bigint'].includes(typeof id) || id instanceof Uint8Array;
  if (isId && !Number.isNaN(id)) return;
  throw new StateMachineError(
    `The id of ${entity} is ${id === null || typeof id !== 'object' ? String(id) : 'an object'}; ` +
      `it must be a value of "${primary}": a text, a number, a bigint or bytes`,
  );
}

/** @throws StateMachineError */
export function checkChanges({ entity, primary, state }: StateColumn, set: object): void {
  for (const property of [state, primary]) {
    if (!Object.hasOwn(set, property)) continue;
    const why = property === state ? 'it is what the transition sets' : 'it names the row';
    throw new StateMachineError(`"${property}" of ${entity} cannot be in what is set along: ${why}`);
  }
}

function primaryOf({ name, primaryColumns }: EntityMetadata): string {
  const [column, ...others] = primaryColumns;
  if (column && others.length === 0 && !column.embeddedMetadata) return column.propertyName;
  const found = primaryColumns.map(({ propertyPath }) => propertyPath).join(', ') || 'none';
  throw new StateMachineError(
    `${name} must have one primary column outside of embedded objects, so that one id names a row; it has ${found}`,
  );
}

function stateOf({ name, columns }: EntityMetadata, property: string): string {
  const column = columns.find(({ propertyPath }) => propertyPath === property);
  if (!column || column.embeddedMetadata) {
    const known = columns.filter(({ embeddedMetadata, isPrimary }) => !embeddedMetadata && !isPrimary);
    throw new StateMachineError(
      `${name} has no column "${property}"; name the property that holds the state with ` +
        `stateMachine(transitions, { column }): one of ${known.map((one) => one.propertyName).join(', ')}`,
    );
  }
  if (column.isPrimary) throw new StateMachineError(`"${property}" of ${name} is its primary column`);
  // TypeORM would leave it out of the UPDATE without a word, and change the rest.
  if (!column.isUpdate) {
    throw new StateMachineError(
      `"${property}" of ${name} is declared with update: false; the state must be writable`,
    );
  }
  return property;
}

function nameOf(target: unknown): string {
  if (typeof target === 'function') return target.name || 'A class without a name';
  if (typeof target === 'string') return JSON.stringify(target);
  const name: unknown = (target as { options?: { name?: unknown } } | null)?.options?.name;
  return typeof name === 'string' ? name : String(target);
}
