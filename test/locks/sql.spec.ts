import { sqlLock } from '../../lib/locks/sql/index.js';
import { describeLockDriver } from '../support/lock-suite.js';
import { ADVERSE, DATABASES, open, openMigrated } from '../stores/typeorm-flavours.js';

for (const { name, create, storeOptions = {} } of [...DATABASES, ...ADVERSE]) {
  const { returning: mariaDb, preparedStatements } = storeOptions;
  describeLockDriver(name, async () => {
    const options = await create();
    const dataSources = [await openMigrated(options), await open(options)] as const;
    const [driver, second] = dataSources.map((dataSource) =>
      sqlLock({ dataSource, preparedStatements, mariaDb }),
    );
    return {
      driver: driver!,
      second: second!,
      cleanup: async () => {
        for (const dataSource of dataSources) await dataSource.destroy();
      },
    };
  });
}
