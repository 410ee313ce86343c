import type { Scenario } from '../scenario.js';

export const payloadChange: Scenario = {
  id: 'payload-change',
  name: 'Same key, other amount',
  story:
    'One and a half lives of a lock after the refund was paid it is asked for once more: the same order, with another amount.',
  async play(stage) {
    const first = await stage.send();
    await first.answered;
    await stage.sleep(1.5 * stage.ttlMs);
    await stage.send({ amount: 2_999, whenBusy: 'give-up' });
  },
};
