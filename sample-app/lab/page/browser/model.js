/**
 * @typedef {import('../../timeline.js').CellName} CellName
 * @typedef {import('../../timeline.js').Moment} Moment
 * @typedef {import('../lab.events.js').CellSummary} CellSummary
 * @typedef {import('../lab.events.js').LabPageEvent} LabPageEvent
 * @typedef {import('./api.js').Matrix} Matrix
 *
 * One field of the matrix, or the experiment with a scheme.
 * @typedef {{
 *   name: string,
 *   scheme: import('./api.js').Scheme,
 *   scenario: import('./api.js').Scenario,
 *   cell: import('./api.js').Cell | undefined,
 *   status: 'idle' | 'waiting' | 'running',
 *   result: CellSummary | undefined,
 *   moments: Moment[] | undefined,
 * }} Field `moments` are undefined where they have to be asked for
 */

const EXPERIMENT = { id: 'experiment', name: 'Experiment', story: '' };

/** @param {CellName} cell */
export function nameOf({ scheme, scenario }) {
  return `${scheme}/${scenario}`;
}

/** What the page knows. Whoever shows a part of it is told when that changes. */
export class Model {
  /** @type {Map<string, Field>} */
  fields = new Map();
  /** @type {Set<(field: Field) => void>} */
  #watchers = new Set();

  /** @param {Matrix} matrix */
  constructor({ schemes, scenarios, cells }) {
    this.schemes = schemes;
    this.scenarios = scenarios;
    for (const scheme of schemes) {
      for (const scenario of [...scenarios, EXPERIMENT]) {
        const cell = cells.find((it) => it.scheme === scheme.id && it.scenario === scenario.id);
        if (!cell && scenario !== EXPERIMENT) continue;
        const name = nameOf({ scheme: scheme.id, scenario: scenario.id });
        const unknown = { result: undefined, moments: undefined };
        this.fields.set(name, { name, scheme, scenario, cell, status: 'idle', ...unknown });
      }
    }
  }

  /** Those of the matrix that can be played here. */
  get playable() {
    return [...this.fields.values()].filter(isPlayable);
  }

  /** @param {(field: Field) => void} watcher */
  watch(watcher) {
    this.#watchers.add(watcher);
  }

  /** @param {LabPageEvent} event */
  apply(event) {
    if (event.type === 'state') return this.#begin(event.state);
    const field = this.fields.get(nameOf(event.type === 'finished' ? event.result : event.cell));
    if (!field) return;
    if (event.type === 'waiting') {
      field.status = 'waiting';
    } else if (event.type === 'started') {
      field.status = 'running';
      field.moments = [];
    } else if (event.type === 'moment') {
      field.moments?.push(event.moment);
    } else {
      field.status = 'idle';
      field.result = event.result;
    }
    this.#tell(field);
  }

  /** @param {import('../lab.events.js').LabState} state */
  #begin({ waiting, running, results }) {
    const waits = new Set(waiting.map(nameOf));
    const runs = new Set(running.map(nameOf));
    const last = new Map(results.map((result) => [nameOf(result), result]));
    for (const field of this.fields.values()) {
      field.status = runs.has(field.name) ? 'running' : waits.has(field.name) ? 'waiting' : 'idle';
      field.result = last.get(field.name);
      field.moments = undefined;
      this.#tell(field);
    }
  }

  /** @param {Field} field */
  #tell(field) {
    for (const watcher of this.#watchers) watcher(field);
  }
}

/** @param {Field} field */
export function isPlayable({ cell }) {
  return cell !== undefined && !cell.unavailable && cell.expectation.verdict !== 'not-applicable';
}
