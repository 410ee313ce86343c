import type { Scenario } from '../scenario.js';

export const crashBeforeEffect: Scenario = {
  id: 'crash-before-effect',
  name: 'Killed before it pays',
  story:
    'A payment service is killed (SIGKILL) when it has claimed the refund and not paid yet. The queue brings the message to another, again and again until somebody answers.',
  async play(stage) {
    const first = stage.holdOneAt('half-claimed', 'before-effect');
    await stage.send();
    await (await first).kill();
  },
};
