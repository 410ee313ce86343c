import type { Scenario } from '../scenario.js';

export const failover: Scenario = {
  id: 'failover',
  name: 'Master dies',
  story:
    'The server that keeps the lock dies while the lock is held, and its replica takes over, which has not heard of the lock yet. A duplicate arrives, and gives up if somebody is at it. Of nodes without a master a minority dies.',
  strikes: 'failover',
  async play(stage) {
    await stage.faults.prepare('failover');
    const first = stage.holdOneAt('before-effect');
    await stage.send();
    const held = await first;
    await stage.faults.strike('failover', held.service);
    const duplicate = await stage.send({ whenBusy: 'give-up' });
    await duplicate.answered;
    held.release();
  },
};
