export interface LockDelayOptions {
  /**
   * A lock that ran out without being released goes to the next one only so many milliseconds later. Protects
   * resources that do not look at fences from a holder who has not noticed yet, and from what he sent last.
   *
   * @default 0
   */
  readonly lockDelayMs?: number;
}

/** @throws TypeError naming the option, its value and the fix. */
export function checkLockDelay({ lockDelayMs = 0 }: LockDelayOptions): number {
  if (Number.isSafeInteger(lockDelayMs) && lockDelayMs >= 0) return lockDelayMs;
  throw new TypeError(
    `lockDelayMs is ${String(lockDelayMs)}; it must be an integer of at least 0 (milliseconds)`,
  );
}
