import { setTimeout as sleep } from 'node:timers/promises';

/** Looks until it is so. For what takes a server or a network its time. */
export async function eventually(
  isSo: () => Promise<boolean> | boolean,
  what: string,
  patienceMs = 20_000,
): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`waited ${patienceMs} ms in vain for ${what}`);
    await sleep(20);
  }
}
