import type { Scenario } from '../scenario.js';

export const sameTimestamp: Scenario = {
  id: 'same-timestamp',
  name: 'Two holders, one timestamp',
  story:
    'The lock of the first is lost with its node, and a second takes it within the same second. The first is done and compares timestamps: they are the same, so it deletes the lock of the second. A third walks in while the second is still at the bank.',
  only: 'redis-lock-naive',
  strikes: 'restart-empty',
  async play(stage) {
    // The beginning of a second, so that all of it fits in.
    await stage.sleep(1_000 - (Date.now() % 1_000));
    const [first, a] = [stage.holdOneAt('before-effect'), await stage.send({ whenBusy: 'give-up' })];
    const holder = await first;
    await stage.faults.strike('restart-empty');
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
