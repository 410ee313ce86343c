/**
 * @typedef {import('../../lab.types.js').Cell} Cell
 * @typedef {{ id: string, number: number, kind: 'shipped' | 'exhibit', name: string, claim: string }} Scheme
 * @typedef {{ id: string, name: string, story: string, only?: string }} Scenario
 * @typedef {{ schemes: Scheme[], scenarios: Scenario[], cells: Cell[] }} Matrix
 * @typedef {import('../lab.events.js').CellReport} CellReport
 */

/** @returns {Promise<Matrix>} */
export function getMatrix() {
  return ask('/lab/cells');
}

/**
 * @param {string} scheme
 * @param {string} scenario
 * @returns {Promise<CellReport>}
 */
export function getReport(scheme, scenario) {
  return ask(`/lab/results/${encodeURIComponent(scheme)}/${encodeURIComponent(scenario)}`);
}

/**
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<any>}
 */
export function post(path, body = {}) {
  const headers = { 'Content-Type': 'application/json' };
  return ask(path, { method: 'POST', headers, body: JSON.stringify(body) });
}

/**
 * What happens, from how far everything is on. The browser connects again by itself.
 *
 * @param {(event: import('../lab.events.js').LabPageEvent) => void} onEvent
 * @param {(isConnected: boolean) => void} onConnection
 */
export function listen(onEvent, onConnection) {
  const source = new EventSource('/lab/events');
  source.addEventListener('message', ({ data }) => onEvent(JSON.parse(data)));
  source.addEventListener('open', () => onConnection(true));
  source.addEventListener('error', () => onConnection(false));
}

/** @param {string} path @param {RequestInit} [init] */
async function ask(path, init) {
  const response = await fetch(path, init);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail ?? answer.message ?? `${response.status}`);
  return answer;
}
