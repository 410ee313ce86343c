import { h } from './dom.js';
import { pictureOf } from './picture.js';
import { timeText } from './words.js';

/** @typedef {import('./model.js').Moment} Moment */

/** @type {Record<Moment['kind'], string>} */
const KINDS = {
  sent: 'sent',
  delivered: 'delivered',
  answered: 'answered',
  note: 'says',
  payout: 'PAYOUT',
  error: 'error',
  fault: 'FAULT',
  healed: 'is back',
};

/**
 * What happened: as a picture, and the same in words.
 *
 * @param {readonly Moment[]} moments
 */
export function timelineOf(moments) {
  if (moments.length === 0) return h('p', {}, 'Nothing yet.');
  return h('div', { class: 'timeline' }, pictureOf(moments), keyOf(), tableOf(moments));
}

/** What the marks of the picture are. */
const keyOf = () =>
  h(
    'p',
    { class: 'key', 'aria-hidden': 'true' },
    '○ sent  ▶ delivered  ■ says  ① payout  ✓ answered  ✕ fault or error',
  );

/** @param {readonly Moment[]} moments */
function tableOf(moments) {
  let payouts = 0;
  const rows = moments.map(({ atMs, lane, kind, text }) => {
    const isPayout = kind === 'payout';
    if (isPayout) payouts++;
    const what = isPayout ? `${KINDS.payout} ${payouts}` : KINDS[kind];
    const again = isPayout && payouts > 1 ? ' again' : '';
    return h(
      'tr',
      { class: `${kind}${again}` },
      h('td', { class: 'at' }, timeText(atMs)),
      h('td', { class: 'who' }, lane),
      h('td', {}, h('span', { class: 'kind' }, what), ` ${text}`),
    );
  });
  const heads = ['When', 'Who', 'What'].map((name) => h('th', { scope: 'col' }, name));
  return h(
    'table',
    { class: 'list moments' },
    h('caption', {}, 'In words, in this order'),
    h('thead', {}, h('tr', {}, ...heads)),
    h('tbody', {}, ...rows),
  );
}
