import { getReport } from './api.js';
import { eachFrame, h } from './dom.js';
import { isPlayable } from './model.js';
import { timelineOf } from './timeline.js';
import { VERDICTS, wordsOf } from './words.js';

/**
 * @typedef {import('./model.js').Field} Field
 * @typedef {import('./model.js').Model} Model
 */

/**
 * What opens when a cell is chosen: why it is expected to be as it is, and what happened. Its address ends with
 * `#scheme/scenario`, so that it can be sent to somebody.
 *
 * @param {Model} model
 * @param {(wanted: object) => void} run
 */
export function cellDialog(model, run) {
  /** @type {Field | undefined} */
  let field;
  const title = h('h2', { id: 'cell-title' });
  const about = h('div');
  const verdict = h('div', { role: 'status' });
  const timeline = h('div');
  const again = h('button', {
    onclick: () => field && run({ scheme: field.scheme.id, scenario: field.scenario.id }),
  });
  const close = h('button', { class: 'quiet' }, 'Close');
  const bar = h('div', { class: 'row' }, again, close);
  const dialog = h(
    'dialog',
    { 'aria-labelledby': 'cell-title', onclose: () => history.replaceState(null, '', location.pathname) },
    title,
    about,
    verdict,
    bar,
    h('h3', {}, 'What happened'),
    timeline,
  );
  close.addEventListener('click', () => dialog.close());
  document.body.append(dialog);

  const refresh = eachFrame(() => {
    if (!field || !dialog.open) return;
    again.hidden = !isPlayable(field);
    again.disabled = field.status !== 'idle';
    again.textContent = field.result ? 'Play it again' : 'Play it';
    verdict.replaceChildren(...verdictOf(field));
    if (field.moments) timeline.replaceChildren(timelineOf(field.moments));
    else timeline.replaceChildren(h('p', {}, field.result ? 'Loading …' : 'It was not played yet.'));
    void load(field, refresh);
  });
  model.watch((changed) => changed === field && refresh());

  const open = (/** @type {Field} */ chosen) => {
    field = chosen;
    title.textContent = `${chosen.scheme.name} × ${chosen.scenario.name}`;
    about.replaceChildren(...aboutOf(chosen));
    history.replaceState(null, '', `#${chosen.name}`);
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    refresh();
  };
  const openAddressed = () => {
    const addressed = model.fields.get(decodeURIComponent(location.hash.slice(1)));
    if (addressed?.cell) open(addressed);
  };
  addEventListener('hashchange', openAddressed);
  return { open, openAddressed };
}

/**
 * Asks for the timeline of what was played before this page was loaded.
 *
 * @param {Field} field
 * @param {() => void} refresh
 */
async function load(field, refresh) {
  if (field.moments || (!field.result && field.status !== 'running')) return;
  const { moments } = await getReport(field.scheme.id, field.scenario.id);
  field.moments ??= [...moments];
  refresh();
}

/** @param {Field} field */
function aboutOf({ scheme, scenario }) {
  return [
    h('p', {}, h('span', { class: `kind ${scheme.kind}` }, scheme.kind), ` ${scheme.claim}`),
    h('p', {}, h('strong', {}, 'What goes wrong: '), scenario.story),
  ];
}

/** @param {Field} field */
function verdictOf(field) {
  const { cell, result } = field;
  const { word, detail, look } = wordsOf(field);
  const unavailable = cell?.unavailable;
  return [
    h('p', { class: 'verdict' }, h('span', { class: `mark ${look}` }, word), ` ${detail}`),
    cell &&
      h(
        'p',
        {},
        cell.expectation.verdict !== 'not-applicable' &&
          h('strong', {}, `Expected: ${VERDICTS[cell.expectation.verdict]}. `),
        cell.expectation.why,
      ),
    result?.error && h('p', { class: 'alert' }, result.error),
    unavailable && h('p', {}, `It ${unavailable.reason}. What to type to get it:`),
    unavailable && h('pre', { tabindex: 0 }, h('code', {}, unavailable.install)),
  ].filter((part) => part instanceof Node);
}
