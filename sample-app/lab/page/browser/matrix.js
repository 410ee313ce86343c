import { h } from './dom.js';
import { wordsOf } from './words.js';

/**
 * @typedef {import('./model.js').Field} Field
 * @typedef {import('./model.js').Model} Model
 */

/**
 * The grid: schemes down, scenarios across. One stop for the tab key; arrows move inside of it.
 *
 * @param {Model} model
 * @param {{ open: (field: Field) => void, run: (wanted: object) => void }} actions
 */
export function matrixOf(model, { open, run }) {
  /** @type {Map<string, HTMLButtonElement>} */
  const buttons = new Map();
  /** @type {(HTMLButtonElement | undefined)[][]} */
  const grid = [];
  const columns = model.scenarios;

  const runButton = (/** @type {string} */ what, /** @type {object} */ wanted) =>
    h(
      'button',
      { class: 'quiet small', tabindex: -1, 'aria-label': `Play ${what}`, onclick: () => run(wanted) },
      'Play',
    );

  const heads = columns.map(({ id, name }) => runButton(`the column ${name}`, { scenario: id }));
  grid.push([undefined, ...heads]);
  const head = h(
    'tr',
    { role: 'row' },
    h('th', { role: 'columnheader', scope: 'col' }, 'Scheme'),
    ...columns.map(({ name }, i) =>
      h('th', { role: 'columnheader', scope: 'col' }, h('span', {}, name), heads[i]),
    ),
  );

  const rows = model.schemes.map((scheme) => {
    const play = runButton(`the row ${scheme.name}`, { scheme: scheme.id });
    const cells = columns.map(({ id }) => {
      const field = model.fields.get(`${scheme.id}/${id}`);
      if (!field) return undefined;
      const button = h('button', { tabindex: -1, onclick: () => open(field) });
      buttons.set(field.name, button);
      show(button, field);
      return button;
    });
    grid.push([play, ...cells]);
    return h(
      'tr',
      { role: 'row' },
      h(
        'th',
        { role: 'rowheader', scope: 'row' },
        h('span', { class: 'scheme' }, `${scheme.number}. ${scheme.name}`),
        h('span', { class: `kind ${scheme.kind}` }, scheme.kind),
        play,
      ),
      ...cells.map((button) => h('td', { role: 'gridcell', class: button ? '' : 'none' }, button)),
    );
  });

  model.watch((field) => {
    const button = buttons.get(field.name);
    if (button) show(button, field);
  });

  const table = h(
    'table',
    { role: 'grid', class: 'matrix', 'aria-labelledby': 'matrix-title' },
    h('thead', { role: 'rowgroup' }, head),
    h('tbody', { role: 'rowgroup' }, ...rows),
  );
  moveWithArrows(table, grid);
  return h('div', { class: 'scroll' }, table);
}

/** @param {HTMLButtonElement} button @param {Field} field */
function show(button, field) {
  const { word, detail, look } = wordsOf(field);
  const { scheme, scenario } = field;
  button.className = `cell ${look}`;
  button.replaceChildren(
    h('span', { class: 'sr' }, `${scheme.name}, `),
    h('span', { class: 'where' }, `${scenario.name}: `),
    h('strong', {}, word),
    h('span', { class: 'detail' }, ` ${detail}`),
  );
}

/** @param {HTMLElement} table @param {(HTMLButtonElement | undefined)[][]} grid */
function moveWithArrows(table, grid) {
  /** @type {HTMLButtonElement | undefined} */
  let stop;
  const stopAt = (/** @type {HTMLButtonElement | undefined} */ button) => {
    stop?.setAttribute('tabindex', '-1');
    stop = button;
    stop?.setAttribute('tabindex', '0');
  };
  stopAt(grid[1]?.find(Boolean));
  table.addEventListener('focusin', ({ target }) => {
    if (target instanceof HTMLButtonElement) stopAt(target);
  });
  table.addEventListener('keydown', (event) => {
    const step = STEPS[event.key];
    const row = grid.findIndex((buttons) => buttons.includes(stop));
    if (!step || !stop || row < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
    const next = nextIn(grid, row, grid[row]?.indexOf(stop) ?? 0, step);
    event.preventDefault();
    next?.focus();
  });
}

/** Down, and to the right. @type {Record<string, [number, number] | undefined>} */
const STEPS = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  Home: [0, -Infinity],
  End: [0, Infinity],
};

/** @param {(HTMLButtonElement | undefined)[][]} grid @param {number} row @param {number} column @param {[number, number]} step */
function nextIn(grid, row, column, [down, right]) {
  const line = grid[row] ?? [];
  if (Math.abs(right) === Infinity) return right < 0 ? line.find(Boolean) : line.findLast(Boolean);
  for (let r = row + down, c = column + right; grid[r] && c >= 0 && c < line.length; r += down, c += right) {
    const button = grid[r]?.[c];
    if (button) return button;
  }
}
