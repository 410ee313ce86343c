export {
  type Changes,
  StateMachine,
  type StateIn,
  stateMachine,
  type StateMachineOptions,
  type StateOf,
  type Transition,
} from './state-machine.js';
export type { RowId } from './state-column.js';
export {
  EntityMissingError,
  IllegalTransitionError,
  StateMachineError,
  TransitionContendedError,
  TransitionError,
  type TransitionErrorCode,
} from './state-machine.errors.js';
export type { Transitions } from './transition-graph.js';
export { TransitionErrorFilter } from './transition-error.filter.js';
