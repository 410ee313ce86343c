import type { Scenario } from '../scenario.js';

export const storeDown: Scenario = {
  id: 'store-down',
  name: 'Database dies and comes back',
  story:
    'Right before the first pays, a database that the scheme writes to is killed. A duplicate arrives meanwhile, and one when the database is back with all it has committed; both give up if somebody is at it, or if they get an error. The first retries until it has an answer.',
  strikes: 'database-down',
  patienceMs: 12_000,
  async play(stage) {
    const first = stage.holdOneAt('before-effect');
    await stage.send();
    const held = await first;
    await stage.faults.strike('database-down');
    const meanwhile = await stage.send({ whenBusy: 'give-up' });
    await Promise.all([meanwhile.answered, stage.sleep(stage.ttlMs)]);
    await stage.faults.heal('database-down');
    const after = await stage.send({ whenBusy: 'give-up' });
    await after.answered;
    held.release();
  },
};
