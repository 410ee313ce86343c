import { sqlLock } from 'nestjs-idempotent/locks/sql';
import type { Scheme } from '../scheme.js';
import { lockedRefund } from './locked-refund.js';

const ROWS_AT_A_TIME = 500;

export const lockInDatabase: Scheme = {
  id: 'sql-lock',
  number: 8,
  kind: 'shipped',
  name: 'Database lock table',
  claim:
    'A row is the lock; who dies leaves it behind, and a scheduled task removes rows past their time, but no live one.',
  needs: ['database'],
  async open(site) {
    const locks = sqlLock({ dataSource: await site.database() });
    // The module of the library does this by itself; here the lock is used without it.
    const sweep = async () => {
      const rows = await locks.sweep(ROWS_AT_A_TIME);
      if (rows > 0) site.note(`the sweep removes ${rows} rows that nobody holds`);
    };
    const task = setInterval(() => {
      sweep().catch((error: Error) => site.note(`the sweep comes again later: ${error.message}`));
    }, site.ttlMs);
    task.unref();
    site.onClose(() => clearInterval(task));
    return lockedRefund(site, locks);
  },
};
