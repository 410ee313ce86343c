import { h, svg } from './dom.js';
import { timeText } from './words.js';

/** @typedef {import('./model.js').Moment} Moment */

const LANE = 30;
const TOP = 30;
const BOTTOM = 24;
const NEAR = 11;
/** Longer silences are drawn short, and told. */
const SILENCE_MS = 300;

/**
 * A lane for each process and server, time to the right. Not to scale: what happens at once is drawn side by side.
 *
 * @param {readonly Moment[]} moments
 */
export function pictureOf(moments) {
  const lanes = lanesOf(moments);
  const places = placesOf(moments);
  const width = (places.at(-1)?.x ?? 0) + 40;
  const height = TOP + lanes.length * LANE + BOTTOM;
  const y = (/** @type {string} */ lane) => TOP + (lanes.indexOf(lane) + 0.5) * LANE;
  let payouts = 0;
  const drawn = moments.map((moment, i) => {
    if (moment.kind === 'payout') payouts++;
    return drawnOf(moment, places[i]?.x ?? 0, y(moment.lane), height, payouts);
  });
  const picture = svg(
    'svg',
    { width, height, viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true' },
    ...lanes.map((lane) => svg('line', { class: 'lane', x1: 0, x2: width, y1: y(lane), y2: y(lane) })),
    ...places.filter(({ silence }) => silence !== undefined).map((place) => silenceOf(place, height)),
    ...drawn.toSorted((a, b) => Number(b.isBehind) - Number(a.isBehind)).map(({ shape }) => shape),
  );
  return h(
    'div',
    { class: 'picture' },
    h('ul', { class: 'lanes', 'aria-hidden': 'true' }, ...lanes.map((lane) => h('li', {}, lane))),
    h(
      'div',
      {
        class: 'scroll',
        tabindex: 0,
        role: 'group',
        'aria-label': 'Picture of the timeline; the table below says the same',
      },
      picture,
    ),
  );
}

/** The queue, the payment services, the servers. @param {readonly Moment[]} moments */
function lanesOf(moments) {
  const rank = (/** @type {string} */ lane) => (lane === 'queue' ? 0 : lane.startsWith('payment') ? 1 : 2);
  const names = [...new Set(moments.map(({ lane }) => lane))];
  return names.toSorted((a, b) => rank(a) - rank(b) || a.localeCompare(b));
}

/**
 * @param {readonly Moment[]} moments
 * @returns {{ x: number, silence?: number, from: number }[]}
 */
function placesOf(moments) {
  let x = 16;
  let last = moments[0]?.atMs ?? 0;
  return moments.map(({ atMs, kind }, i) => {
    const from = x;
    const passed = atMs - last;
    last = atMs;
    if (passed > SILENCE_MS) {
      x += 70;
      return { x, from, silence: passed };
    }
    const isWide = kind === 'payout' || moments[i - 1]?.kind === 'payout';
    if (i > 0) x += NEAR + (isWide ? 6 : 0) + Math.min(passed / 6, 20);
    return { x, from };
  });
}

/** @param {{ x: number, from: number, silence?: number }} place @param {number} height */
function silenceOf({ x, from, silence = 0 }, height) {
  const middle = (x + from) / 2;
  return svg(
    'g',
    { class: 'silence' },
    svg('rect', { x: from + 14, y: TOP, width: x - from - 28, height: height - TOP - BOTTOM }),
    svg('text', { x: middle, y: height - 8, 'text-anchor': 'middle' }, timeText(silence)),
  );
}

/** @param {Moment} moment @param {number} x @param {number} y @param {number} height @param {number} payouts */
function drawnOf({ atMs, lane, kind, text }, x, y, height, payouts) {
  const isBehind = kind === 'fault' || kind === 'healed';
  const title = svg('title', {}, `${timeText(atMs)}, ${lane}: ${text}`);
  const again = kind === 'payout' && payouts > 1 ? ' again' : '';
  const shape = svg('g', { class: `moment ${kind}${again}` }, title, ...shapeOf(kind, x, y, height, payouts));
  return { isBehind, shape };
}

/** @param {Moment['kind']} kind @param {number} x @param {number} y @param {number} height @param {number} payouts */
function shapeOf(kind, x, y, height, payouts) {
  switch (kind) {
    case 'payout':
      return [
        svg('circle', { cx: x, cy: y, r: 10 }),
        svg('text', { x, y: y + 4, 'text-anchor': 'middle' }, payouts),
      ];
    case 'fault':
    case 'healed':
      return [
        svg('line', { x1: x, x2: x, y1: TOP - 8, y2: height - BOTTOM }),
        svg('path', { d: cross(x, y, 6) }),
        svg('text', { x, y: TOP - 14, 'text-anchor': 'middle' }, kind),
      ];
    case 'error':
      return [svg('path', { d: cross(x, y, 4) })];
    case 'sent':
      return [svg('circle', { cx: x, cy: y, r: 4 })];
    case 'delivered':
      return [svg('path', { d: `M${x - 3} ${y - 5}L${x + 5} ${y}L${x - 3} ${y + 5}Z` })];
    case 'answered':
      return [svg('path', { d: `M${x - 5} ${y}L${x - 1} ${y + 4}L${x + 5} ${y - 4}` })];
    default:
      return [svg('rect', { x: x - 3, y: y - 3, width: 6, height: 6 })];
  }
}

/** @param {number} x @param {number} y @param {number} r */
function cross(x, y, r) {
  return `M${x - r} ${y - r}L${x + r} ${y + r}M${x - r} ${y + r}L${x + r} ${y - r}`;
}
