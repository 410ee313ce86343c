import { dataSourceOptions, openDatabase } from '../../sample-app/database/data-source.js';
import { startProcess } from '../support/processes.js';
import { sharedMariaDb, sharedPostgres } from '../support/shared-servers.js';
import { PATIENCE_MS, sqliteUrl } from './sample-app.js';

it.each([
  ['PostgreSQL', () => sharedPostgres().createDatabase()],
  ['MariaDB', () => sharedMariaDb().createDatabase()],
])('%s: who starts together makes the tables once', async (_name, createDatabase) => {
  const options = dataSourceOptions(await createDatabase());
  const opened = await Promise.all(Array.from({ length: 6 }, () => openDatabase(options)));
  const migrations = await opened[0]!.query('SELECT name FROM migrations');
  await Promise.all(opened.map((dataSource) => dataSource.destroy()));
  expect(migrations).toHaveLength(options.migrations!.length as number);
});

it(
  'SQLite: processes that start together on one file all find the tables',
  async () => {
    const url = sqliteUrl();
    const start = () => startProcess(new URL('./fixtures/open-database.ts', import.meta.url));
    const processes = [start(), start(), start(), start()];
    await Promise.all(processes.map((process) => process.waitForLine(/ready/, PATIENCE_MS)));
    await Promise.all(processes.map((process) => process.send(url)));
    const exits = await Promise.all(processes.map(({ exited }) => exited));
    expect(exits.map(({ code }) => code)).toEqual([0, 0, 0, 0]);
  },
  PATIENCE_MS,
);
