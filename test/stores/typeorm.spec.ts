import { describeStore } from '../support/store-suite.js';
import { ADVERSE, DATABASES, open, openMigrated, storeOf } from './typeorm-flavours.js';

for (const flavour of [...DATABASES, ...ADVERSE]) {
  describeStore(flavour.name, async () => {
    const options = await flavour.create();
    const dataSource = await openMigrated(options);
    const second = await open(options);
    return {
      store: storeOf(flavour, dataSource),
      second: storeOf(flavour, second),
      cleanup: () => Promise.all([dataSource.destroy(), second.destroy()]),
    };
  });
}
