import type { Scenario } from '../scenario.js';

export const payloadChange: Scenario = {
  id: 'payload-change',
  name: 'Same key, other amount',
  story: 'After the refund was paid, it is asked for once more: the same order, with another amount.',
  async play(stage) {
    const first = await stage.send();
    await first.answered;
    await stage.send({ amount: 2_999, whenBusy: 'give-up' });
  },
};
