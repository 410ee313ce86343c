import type { Scenario } from '../scenario.js';

export const nodeRestart: Scenario = {
  id: 'node-restart',
  name: 'Lock node comes back empty',
  story:
    'While the first holds the lock, a node that keeps it is killed and comes back empty. A duplicate arrives, and gives up if somebody is at it. Of five nodes: 1, 2 and 3 have given the lock, 3 forgets it, and the duplicate asks 3, 4 and 5.',
  strikes: 'restart-empty',
  async play(stage) {
    await stage.faults.prepare('restart-empty');
    const first = stage.holdOneAt('before-effect');
    await stage.send();
    const held = await first;
    await stage.faults.strike('restart-empty', held.service);
    const duplicate = await stage.send({ whenBusy: 'give-up' });
    await duplicate.answered;
    held.release();
  },
};
