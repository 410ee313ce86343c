import { byId, eachFrame, h } from './dom.js';
import { wordsOf } from './words.js';

/** How often a screen reader is told how far it is. */
const PAUSE_MS = 4_000;

/**
 * How far the matrix is, and the button that plays all of it.
 *
 * @param {import('./model.js').Model} model
 * @param {(wanted: object) => void} run
 */
export function progressOf(model, run) {
  const bar = h('progress', { max: model.playable.length, value: 0, 'aria-label': 'Cells played' });
  const text = h('span');
  const button = h('button', { onclick: () => run({}) }, 'Play everything');
  const refresh = eachFrame(() => {
    const { done, words, isBusy } = countsOf(model);
    bar.value = done;
    text.textContent = words;
    button.disabled = isBusy || model.playable.length === 0;
  });
  model.watch(refresh);
  model.watch(announcer(model));
  refresh();
  return [button, bar, text];
}

/** @param {import('./model.js').Model} model */
function countsOf({ playable }) {
  const count = (/** @type {(field: import('./model.js').Field) => boolean} */ is) =>
    playable.filter(is).length;
  const done = count(({ result }) => result !== undefined);
  const wrong = count(({ result }) => result?.asExpected === false);
  const running = count(({ status }) => status === 'running');
  const waiting = count(({ status }) => status === 'waiting');
  const now = running + waiting > 0 ? `; ${running} running, ${waiting} waiting` : '';
  const words = `${done} of ${playable.length} cells played, ${wrong} not as expected${now}`;
  return { done, words, isBusy: running + waiting === playable.length };
}

/**
 * Tells what was played: a cell alone by its words, many by their number, now and then.
 *
 * @param {import('./model.js').Model} model
 * @returns {(field: import('./model.js').Field) => void}
 */
function announcer(model) {
  const place = byId('announcer');
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  /** @type {Set<import('./model.js').Field>} */
  const busy = new Set();
  return (field) => {
    if (field.status !== 'idle') return void busy.add(field);
    if (!busy.delete(field)) return;
    const { word, detail } = wordsOf(field);
    if (busy.size === 0) {
      clearTimeout(timer);
      timer = undefined;
      place.textContent = `${field.scheme.name}, ${field.scenario.name}: ${word}, ${detail}. ${countsOf(model).words}.`;
      return;
    }
    timer ??= setTimeout(() => {
      timer = undefined;
      place.textContent = countsOf(model).words;
    }, PAUSE_MS);
  };
}
