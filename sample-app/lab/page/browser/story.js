import { getReport } from './api.js';
import { eachFrame, h } from './dom.js';
import { isPlayable } from './model.js';
import { pictureOf } from './picture.js';
import { wordsOf } from './words.js';

/**
 * @typedef {import('./model.js').Field} Field
 * @typedef {import('./model.js').Model} Model
 */

/** A lock, and a stored result. The second pair needs no server. */
const PAIRS = [
  ['lock-only/late-retry', 'lock-and-store/late-retry'],
  ['sql-lock/late-retry', 'unique-index/late-retry'],
];

/**
 * The two cells that tell the whole story, side by side.
 *
 * @param {Model} model
 * @param {(wanted: object) => void} run
 * @returns {Node[]}
 */
export function storyOf(model, run) {
  const pair = PAIRS.map((names) => names.map((name) => model.fields.get(name))).find(isPlayablePair);
  if (!pair) return [];
  const [lock, result] = /** @type {[Field, Field]} */ (pair);
  const play = () =>
    [lock, result].forEach(({ scheme, scenario }) => run({ scheme: scheme.id, scenario: scenario.id }));
  return [
    h('h3', {}, 'See it happen'),
    h('p', {}, `${lock.scenario.story} Once with a lock only, once with a stored result.`),
    h('button', { onclick: play }, 'Show me'),
    h('div', { class: 'columns story' }, cardOf(lock, model), cardOf(result, model)),
  ];
}

/** @param {(Field | undefined)[]} pair */
function isPlayablePair(pair) {
  return pair.every((field) => field !== undefined && isPlayable(field));
}

/** @param {Field} field @param {Model} model */
function cardOf(field, model) {
  const place = h('div');
  const refresh = eachFrame(() => {
    const { word, detail, look } = wordsOf(field);
    place.replaceChildren(
      h('p', { class: 'verdict' }, h('span', { class: `mark ${look}` }, word), ` ${detail}`),
      ...(field.moments?.length ? [pictureOf(field.moments)] : []),
      ...(field.result && field.status === 'idle' ? [h('p', {}, field.cell?.expectation.why)] : []),
    );
    if (field.result && !field.moments) {
      void getReport(field.scheme.id, field.scenario.id).then(({ moments }) => {
        field.moments ??= [...moments];
        refresh();
      });
    }
  });
  model.watch((changed) => changed === field && refresh());
  refresh();
  return h('section', { class: 'card' }, h('h4', {}, field.scheme.name), place);
}
