/** @typedef {import('./model.js').Field} Field */

/** @type {Record<string, string>} */
export const VERDICTS = {
  holds: 'pays once',
  'pays-twice': 'PAYS TWICE',
  'never-pays': 'never pays',
  failed: 'the lab failed',
  'not-applicable': 'means nothing here',
};

/** @param {number} payouts */
export function payoutsText(payouts) {
  return payouts === 1 ? '1 payout' : `${payouts} payouts`;
}

/**
 * What a cell says: a word, what goes below it, and what it looks like.
 *
 * @param {Field} field
 * @returns {{ word: string, detail: string, look: string }}
 */
export function wordsOf({ cell, status, result }) {
  if (status === 'waiting') return { word: 'waits', detail: 'for its turn', look: 'waiting' };
  if (status === 'running') return { word: 'runs …', detail: 'right now', look: 'running' };
  if (result) {
    const word = VERDICTS[result.actual] ?? result.actual;
    const count = result.payouts > 1 ? `${payoutsText(result.payouts)}, ` : '';
    return result.asExpected
      ? { word, detail: `${count}as expected`, look: result.actual }
      : { word, detail: `✗ not as expected: ${VERDICTS[result.expected]}`, look: 'wrong' };
  }
  if (!cell) return { word: '', detail: '', look: 'nothing' };
  const { expectation, unavailable } = cell;
  if (expectation.verdict === 'not-applicable')
    return { word: '–', detail: 'means nothing here', look: 'nothing' };
  if (unavailable) return { word: 'cannot run', detail: 'here', look: 'unavailable' };
  return { word: 'not played', detail: `expected: ${VERDICTS[expectation.verdict]}`, look: 'idle' };
}

/** @param {number} ms */
export function timeText(ms) {
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(2)} s`;
}
