import type { Scenario } from '../scenario.js';

export const lateRetry: Scenario = {
  id: 'late-retry',
  name: 'Late retry',
  story:
    'The first attempt pays, but its acknowledgement is lost: the queue brings the same message again after three times the life of a lock.',
  async play(stage) {
    const sent = await stage.send({ redeliverAfterMs: 3 * stage.ttlMs });
    await sent.answered;
  },
};
