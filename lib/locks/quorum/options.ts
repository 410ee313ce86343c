import type { LockDriver } from '../lock-driver.js';

export interface QuorumOptions {
  /**
   * How long one node may take to answer, in milliseconds; then the others decide without it. Small against
   * the life of the locks, large against a round trip.
   * @default a twentieth of the life, at least 20 and at most 200
   */
  readonly nodeTimeoutMs?: number;
}

/** @throws TypeError naming the option, its value and the fix. */
export function checkQuorumOptions(factory: string, { nodeTimeoutMs }: QuorumOptions): void {
  if (nodeTimeoutMs !== undefined) checkMs(factory, 'nodeTimeoutMs', nodeTimeoutMs);
}

/** @throws TypeError naming the option, its value and the fix. */
export function checkMs(factory: string, option: string, value: unknown): void {
  if (Number.isSafeInteger(value) && Number(value) >= 1) return;
  throw new TypeError(
    `${factory}({ ${option} }): ${option} is ${String(value)}; it must be an integer of at least 1 (milliseconds)`,
  );
}

/** @throws TypeError saying which driver it is, and the fix. */
export function checkDrivers(drivers: readonly LockDriver[]): void {
  const fail = (what: string) => {
    throw new TypeError(`quorumLock(drivers): ${what}`);
  };
  if (!Array.isArray(drivers) || drivers.length === 0) {
    fail('there is no driver; give a list of them, e.g. three redisLock({ client }) of independent servers');
  }
  drivers.forEach((driver, index) => {
    const which = `drivers[${index}]`;
    if (!isDriver(driver)) fail(`${which} is no lock driver; give what e.g. redisLock({ client }) returns`);
    const first = drivers.indexOf(driver);
    if (first < index) fail(`${which} is drivers[${first}] once more; each node has one vote`);
    if (driver.queues) {
      fail(`${which} (${driver.name}) keeps a line of its own and cannot be one of several; use it alone`);
    }
    if (!driver.raiseFence && drivers.length > 1) {
      fail(
        `${which} (${driver.name}) has no raiseFence(), without which the fences of a quorum would not grow; ` +
          `add it to the driver, or use the driver alone`,
      );
    }
  });
}

function isDriver(value: unknown): boolean {
  return ['acquire', 'extend', 'release'].every(
    (method) => typeof (value as Record<string, unknown> | null | undefined)?.[method] === 'function',
  );
}
