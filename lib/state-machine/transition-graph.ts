import { StateMachineError } from './state-machine.errors.js';

/** Where each state can go. A state without a way out need not be named. */
export type Transitions = Readonly<Record<string, readonly string[]>>;

/** Which state leads where, both ways. */
export class TransitionGraph {
  private readonly ways = new Map<string, readonly string[]>();
  private readonly origins = new Map<string, string[]>();

  /** @throws StateMachineError naming what is wrong. */
  constructor(transitions: Transitions) {
    if (typeof transitions !== 'object' || transitions === null || Object.keys(transitions).length === 0) {
      throw new StateMachineError(
        `stateMachine(transitions): there are none; say where each state can go, e.g. { PAID: ['REFUNDING'] }`,
      );
    }
    for (const [from, targets] of Object.entries(transitions)) this.add(from, targets);
    for (const state of this.origins.keys()) if (!this.ways.has(state)) this.ways.set(state, []);
  }

  get states(): readonly string[] {
    return [...this.ways.keys()];
  }

  /** Where a state leads; nowhere if the machine does not know it. */
  from(state: string | null): readonly string[] {
    return (state !== null && this.ways.get(state)) || [];
  }

  /**
   * What leads to a state.
   *
   * @throws StateMachineError when it is none of this machine's.
   */
  to(state: string): readonly string[] {
    if (this.ways.has(state)) return this.origins.get(state) ?? [];
    throw new StateMachineError(
      `${JSON.stringify(state)} is no state of this machine; its states are ${this.states.join(', ')}`,
    );
  }

  private add(from: string, targets: readonly string[]): void {
    const where = `stateMachine(transitions): ${from}`;
    if (!Array.isArray(targets)) {
      throw new StateMachineError(
        `${where} is ${JSON.stringify(targets)}; it must be a list of states, or []`,
      );
    }
    for (const to of targets) {
      if (typeof to !== 'string' || to === '') {
        throw new StateMachineError(
          `${where} leads to ${JSON.stringify(to)}; a state is a text that is not empty`,
        );
      }
      if (to === from) {
        throw new StateMachineError(
          `${where} leads to itself; leave that out: who is there already is answered so, and nothing is written`,
        );
      }
      const origins = this.origins.get(to);
      if (!origins) this.origins.set(to, [from]);
      else if (!origins.includes(from)) origins.push(from);
    }
    this.ways.set(from, [...new Set(targets)]);
  }
}
