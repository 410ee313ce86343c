import type { Scenario } from '../scenario.js';

export const getDelGap: Scenario = {
  id: 'get-del-gap',
  name: 'Between GET and DEL',
  story:
    'The first has paid and seen that the lock is its own. Before it deletes it, the lock runs out and a second takes it. The first deletes the lock of the second, and a third walks in while the second is still at the bank.',
  only: 'redis-lock-naive',
  async play(stage) {
    const releasing = stage.holdOneAt('about-to-release');
    const a = await stage.send({ whenBusy: 'give-up' });
    const holder = await releasing;
    await stage.sleep(1.2 * stage.ttlMs);
    const second = stage.holdOneAt('before-effect');
    await stage.send({ whenBusy: 'give-up' });
    const next = await second;
    holder.release();
    await a.answered;
    const third = await stage.send({ whenBusy: 'give-up' });
    await third.answered;
    next.release();
  },
};
