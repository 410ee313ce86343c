import { post } from './api.js';
import { eachFrame, h } from './dom.js';
import { timelineOf } from './timeline.js';
import { payoutsText, timeText, VERDICTS } from './words.js';

/**
 * @typedef {import('./model.js').Field} Field
 * @typedef {import('./model.js').Model} Model
 */

/**
 * A scheme, and what the visitor does to it.
 *
 * @param {Model} model
 */
export function experimentOf(model) {
  /** @type {Field | undefined} */
  let field;
  const message = h('p', { role: 'status' });
  const ledger = h('div');
  const timeline = h('div');
  const start = h('button', {}, 'Start');
  const send = h('button', { type: 'button', class: 'quiet' }, 'Send one more');
  const kill = h('button', { type: 'button', class: 'quiet' }, 'Kill a payment service');
  const form = h(
    'form',
    { class: 'card' },
    h('label', {}, 'Scheme', h('select', { name: 'scheme' }, ...optionsOf(model))),
    number('Duplicates, all at once', 'duplicates', 5, 1, 50),
    number('A lock lives (TTL), milliseconds', 'ttlMs', 1_000, 200, 10_000),
    number('The bank takes, milliseconds', 'bankLatencyMs', 2_000, 0, 20_000),
    h('div', { class: 'row' }, start, send, kill),
    message,
  );

  const refresh = eachFrame(() => {
    const isOver = !field || field.status === 'idle';
    start.disabled = !isOver;
    send.disabled = kill.disabled = field?.status !== 'running';
    ledger.replaceChildren(...ledgerOf(field));
    timeline.replaceChildren(...(field?.moments ? [timelineOf(field.moments)] : []));
  });
  const act = async (/** @type {() => Promise<string>} */ action) => {
    message.className = '';
    message.textContent = await action().catch((/** @type {Error} */ error) => {
      message.className = 'alert';
      return error.message;
    });
  };
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void act(async () => {
      const { scheme, ...numbers } = Object.fromEntries(new FormData(form));
      const options = Object.fromEntries(Object.entries(numbers).map(([name, text]) => [name, Number(text)]));
      await post('/lab/experiment', { scheme, ...options });
      return 'It begins as soon as those before it are done.';
    });
  });
  send.addEventListener('click', () => {
    void act(async () => {
      await post('/lab/experiment/send');
      return 'One more was sent.';
    });
  });
  kill.addEventListener('click', () => {
    void act(async () => {
      const { killed } = await post('/lab/experiment/kill');
      return killed
        ? `${killed} was killed. The queue brings its message to another one.`
        : 'Nobody was at work.';
    });
  });
  model.watch((changed) => {
    if (changed.scenario.id !== 'experiment') return;
    // Also one that another visitor has begun, as there is one at a time.
    if (changed.status !== 'idle') field = changed;
    if (changed === field) refresh();
  });
  refresh();
  const aside = h('section', { class: 'card', 'aria-labelledby': 'ledger-title' }, ledgerTitle(), ledger);
  return [h('div', { class: 'columns' }, form, aside), timeline];
}

function ledgerTitle() {
  return h('h3', { id: 'ledger-title' }, 'The ledger: money that left');
}

/** @param {Model} model */
function optionsOf({ schemes, fields }) {
  return schemes.map(({ id, number, name }) => {
    const here = [...fields.values()].some(
      ({ scheme, cell }) => scheme.id === id && cell && !cell.unavailable,
    );
    const text = `${number}. ${name}${here ? '' : ' (cannot run here)'}`;
    return h('option', { value: id, disabled: !here }, text);
  });
}

/** @param {string} label @param {string} name @param {number} value @param {number} min @param {number} max */
function number(label, name, value, min, max) {
  const input = h('input', { type: 'number', name, value, min, max, required: true });
  return h('label', {}, `${label} (${min} to ${max})`, input);
}

/** @param {Field | undefined} field */
function ledgerOf(field) {
  if (!field) return [h('p', {}, 'Empty.')];
  const payouts = (field.moments ?? []).filter(({ kind }) => kind === 'payout');
  const isOver = field.status === 'idle' && field.result;
  const verdict = payouts.length > 1 ? 'pays-twice' : isOver ? (field.result?.actual ?? '') : '';
  return [
    h(
      'p',
      { class: 'verdict' },
      h('strong', { class: 'count' }, payoutsText(payouts.length)),
      verdict && h('span', { class: `mark ${verdict}` }, VERDICTS[verdict]),
      !isOver && ' so far',
    ),
    h(
      'ol',
      {},
      ...payouts.map(({ atMs, lane, text }) => h('li', {}, `${lane} ${text}, after ${timeText(atMs)}`)),
    ),
    field.result?.error && isOver
      ? h('p', { class: 'alert' }, field.result.error)
      : h('p', {}, field.scheme.claim),
  ];
}
