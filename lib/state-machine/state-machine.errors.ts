import { HttpException } from '@nestjs/common';

/** A state machine, or a call of it, is wrong: a mistake of the program. The message names the value and the fix. */
export class StateMachineError extends Error {
  override readonly name = 'StateMachineError';
}

/** Every refused transition has one of these codes; they are stable. */
export type TransitionErrorCode = keyof typeof PROBLEMS;

const PROBLEMS = {
  'illegal-transition': { status: 409, title: 'The present state does not allow this transition' },
  'transition-contended': { status: 409, title: 'The state kept changing while this transition was tried' },
  'entity-missing': { status: 404, title: 'There is nothing of this id' },
} as const;

/**
 * A transition was refused, nothing was changed. An `HttpException` whose body is an RFC 9457 problem; with
 * `TransitionErrorFilter` it is sent as `application/problem+json`.
 */
export abstract class TransitionError extends HttpException {
  readonly code: TransitionErrorCode;
  /** What happened to which row, for people. */
  readonly detail: string;

  constructor(code: TransitionErrorCode, detail: string, members: object = {}) {
    const { status, title } = PROBLEMS[code];
    super({ type: `urn:nestjs-idempotent:${code}`, title, status, code, detail, ...members }, status);
    this.name = new.target.name;
    this.message = `${title}: ${detail}`;
    this.code = code;
    this.detail = detail;
  }
}

/** The row is in a state that does not lead to the wanted one. 409 `illegal-transition`. */
export class IllegalTransitionError extends TransitionError {
  constructor(
    row: string,
    /** The present state; null when the column is empty. */
    readonly from: string | null,
    readonly to: string,
    /** Where it can go from there. */
    readonly allowed: readonly string[],
  ) {
    const ways = allowed.length ? `only to ${allowed.join(' or ')}` : 'nowhere';
    const detail = `${row} is ${from ?? 'in no state'}; from there it can go ${ways}, not to ${to}.`;
    super('illegal-transition', detail, { from, to, allowed });
  }
}

/** There is no row of that id, or it is deleted softly. 404 `entity-missing`. */
export class EntityMissingError extends TransitionError {
  constructor(row: string) {
    super('entity-missing', `There is no ${row}.`);
  }
}

/**
 * Others moved the row to and fro, so that it was never in the right state when it was written to. Happens in machines
 * with cycles only, outside of a transaction. 409 `transition-contended`; worth trying again.
 */
export class TransitionContendedError extends TransitionError {
  constructor(
    row: string,
    readonly to: string,
  ) {
    super('transition-contended', `${row} was not moved to ${to}.`, { to });
  }
}
