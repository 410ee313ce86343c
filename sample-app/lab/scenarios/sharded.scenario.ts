import type { Scenario } from '../scenario.js';

export const sharded: Scenario = {
  id: 'sharded',
  name: 'Duplicate goes to another shard',
  story:
    'The tables are spread over three databases. While the first is at the bank a duplicate arrives, and after the first is done one more; both are sent to other shards than the first.',
  needs: ['databases'],
  async play(stage) {
    const first = stage.holdOneAt('before-effect');
    const original = await stage.send({ shard: 1 });
    const held = await first;
    const meanwhile = await stage.send({ shard: 2, whenBusy: 'give-up' });
    await meanwhile.answered;
    held.release();
    await original.answered;
    await stage.send({ shard: 3, whenBusy: 'give-up' });
  },
};
