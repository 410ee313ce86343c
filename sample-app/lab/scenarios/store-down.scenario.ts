import type { Scenario } from '../scenario.js';

export const storeDown: Scenario = {
  id: 'store-down',
  name: 'Database dies and comes back',
  story:
    'Right before the first pays, a database that the scheme writes to is killed. A duplicate arrives meanwhile, the database comes back with all it has committed, and everybody retries until there is an answer.',
  strikes: 'database-down',
  patienceMs: 12_000,
  async play(stage) {
    const first = stage.holdOneAt('before-effect');
    await stage.send();
    const held = await first;
    await stage.faults.strike('database-down');
    const duplicate = await stage.send();
    await Promise.race([duplicate.answered, stage.sleep(stage.ttlMs)]);
    await stage.faults.heal('database-down');
    await Promise.race([duplicate.answered, stage.sleep(stage.ttlMs)]);
    held.release();
  },
};
