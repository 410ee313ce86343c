import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MARIADB, openMigrated, POSTGRES, SQLITE } from '../stores/typeorm-flavours.js';
import { afterAll, it, lane } from '../support/lanes.js';
import { startProcess } from '../support/processes.js';
import { acquired, another, isFree, LONG_MS, placeOf, until } from './sql-helpers.js';

const PROCESSES = 3;
const ROUNDS = 15;
const LOOPS = 3;

lane.each([POSTGRES, MARIADB, SQLITE])('$name', (flavour) => {
  const folder = mkdtempSync(join(tmpdir(), 'idempotent-'));
  const counter = join(folder, 'counter');

  afterAll(() => rmSync(folder, { recursive: true }));

  it('G60 G14 three processes keep an unprotected counter right, and fences grow in the order of use', async () => {
    const options = await flavour.create();
    await (await openMigrated(options)).destroy();
    writeFileSync(counter, '0');
    const processes = Array.from({ length: PROCESSES }, () =>
      startProcess(new URL('./fixtures/sql-counter.ts', import.meta.url), {
        args: [...placeOf(options), counter, String(ROUNDS)],
      }),
    );
    await Promise.all(processes.map((one) => one.waitForLine(/^ready$/)));
    for (const one of processes) await one.send('go');
    const exits = await Promise.all(processes.map(({ exited }) => exited));
    expect(exits.map(({ code, stderr }) => ({ code, stderr }))).toEqual(
      processes.map(() => ({ code: 0, stderr: '' })),
    );
    const expected = PROCESSES * LOOPS * ROUNDS;
    expect(Number(readFileSync(counter, 'utf8'))).toBe(expected);
    const fences = readFileSync(`${counter}.fences`, 'utf8').trim().split('\n').map(BigInt);
    expect(fences).toHaveLength(expected);
    expect(fences).toEqual([...new Set(fences)].toSorted((a, b) => (a < b ? -1 : 1)));
  });

  it('a killed holder’s lock goes to the next when it runs out, and not before', async () => {
    const options = await flavour.create();
    await (await openMigrated(options)).destroy();
    const holder = startProcess(new URL('./fixtures/sql-holder.ts', import.meta.url), {
      args: [...placeOf(options), '1500'],
    });
    await holder.waitForLine(/^held$/);
    await holder.kill();
    const killed = performance.now();
    const { lock } = await another(flavour, options);
    expect(await isFree(lock, 'order')).toBe(false);
    await until(async () => (await lock.acquire('order', 'next', LONG_MS)).acquired);
    const took = performance.now() - killed;
    // It was prolonged every half second.
    expect(took).toBeGreaterThan(800);
    expect(took).toBeLessThan(2_500);
    await acquired(lock, 'order', 'next');
  });
});
