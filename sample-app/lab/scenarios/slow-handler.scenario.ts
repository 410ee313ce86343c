import type { Scenario } from '../scenario.js';

export const slowHandler: Scenario = {
  id: 'slow-handler',
  name: 'Slow bank',
  story:
    'The bank takes three times the life of a lock. Half-way through a duplicate arrives, and gives up if somebody is at it.',
  async play(stage) {
    stage.bankTakes(3 * stage.ttlMs);
    await stage.send();
    await stage.sleep(1.5 * stage.ttlMs);
    await stage.send({ whenBusy: 'give-up' });
  },
};
