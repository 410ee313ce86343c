import { h } from './dom.js';

/**
 * What cannot be played here, why, and what to type.
 *
 * @param {import('./model.js').Model} model
 * @returns {Node[]}
 */
export function missingOf({ fields }) {
  /** @type {Map<string, { install: string, count: number }>} */
  const reasons = new Map();
  for (const { cell } of fields.values()) {
    if (!cell?.unavailable || cell.expectation.verdict === 'not-applicable') continue;
    const { reason, install } = cell.unavailable;
    reasons.set(reason, { install, count: (reasons.get(reason)?.count ?? 0) + 1 });
  }
  if (reasons.size === 0) return [];
  const items = [...reasons].map(([reason, { install, count }]) =>
    h(
      'li',
      {},
      `${count} ${count === 1 ? 'cell' : 'cells'}: ${reason}.`,
      h('pre', { tabindex: 0 }, h('code', {}, install)),
    ),
  );
  return [h('details', {}, h('summary', {}, 'Some cells cannot run here'), h('ul', {}, ...items))];
}
