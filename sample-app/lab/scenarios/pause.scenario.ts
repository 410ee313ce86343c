import type { Scenario } from '../scenario.js';

export const pause: Scenario = {
  id: 'pause',
  name: 'Process stands still',
  story:
    'Right before it pays a payment service is stopped (SIGSTOP; as a long garbage collection or a moved virtual machine would) for three times the life of a lock. A duplicate arrives meanwhile. Then the first goes on where it was.',
  async play(stage) {
    const first = stage.holdOneAt('before-effect');
    await stage.send();
    const held = await first;
    await held.freeze();
    await stage.sleep(1.5 * stage.ttlMs);
    const duplicate = await stage.send({ whenBusy: 'give-up' });
    await Promise.all([duplicate.answered, stage.sleep(1.5 * stage.ttlMs)]);
    await held.thaw();
  },
};
