import type { Scenario } from '../scenario.js';

export const crashAfterEffect: Scenario = {
  id: 'crash-after-effect',
  name: 'Killed after it has paid',
  story:
    'A payment service is killed (SIGKILL) when it has paid and not written so down yet. The queue brings the message to another, again and again until somebody answers.',
  async play(stage) {
    const first = stage.holdOneAt('after-effect');
    await stage.send();
    await (await first).kill();
  },
};
