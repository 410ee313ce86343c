import type { Scenario } from '../scenario.js';

const REQUESTS = 20;

export const burst: Scenario = {
  id: 'burst',
  name: '20 at once',
  story:
    'Twenty identical requests arrive at once, spread over three payment services. The bank keeps the first of them waiting until the others are dealt with. Who hears that somebody is at it gives up.',
  prefetch: REQUESTS,
  async play(stage) {
    const goOn = stage.holdAllAt('before-effect');
    const sent = await Promise.all(
      Array.from({ length: REQUESTS }, () => stage.send({ whenBusy: 'give-up' })),
    );
    await stage.untilAnsweredOrHeld(...sent);
    goOn();
  },
};
