import { type ConnectString, parseConnectString } from '../../zookeeper/servers.js';

export interface ZooKeeperLockOptions {
  /** `host:port,host:port,host:port`, perhaps with a path that all nodes lie below: `host:2181/app`. */
  readonly connect: string;
  /**
   * Life of the session without a word from this process, in milliseconds: after a crash its locks are free so
   * much later. Servers grant from 2 to 20 of their ticks (by default 4 to 40 s); what they grant counts.
   *
   * @default 10000
   */
  readonly sessionTimeoutMs?: number;
  /** Path below which the locks lie; made when missing. @default '/nestjs-idempotent/locks' */
  readonly root?: string;
}

export interface ZooKeeperSettings {
  readonly servers: ConnectString['servers'];
  /** With the path of the connect string. */
  readonly root: string;
  readonly sessionTimeoutMs: number;
}

const DEFAULT_ROOT = '/nestjs-idempotent/locks';
const DEFAULT_SESSION_TIMEOUT_MS = 10_000;
const LEAST_SESSION_TIMEOUT_MS = 200;
const LONGEST_SESSION_TIMEOUT_MS = 2 ** 31 - 1;
const ROOT = /^(\/(?!\.{1,2}(\/|$))[^/\s\0]+)+$/;

/** @throws TypeError when an option is not what it should be. */
export function checkZooKeeperOptions(options: ZooKeeperLockOptions | undefined): ZooKeeperSettings {
  const {
    connect,
    sessionTimeoutMs = DEFAULT_SESSION_TIMEOUT_MS,
    root = DEFAULT_ROOT,
  } = options ?? ({} as Partial<ZooKeeperLockOptions>);
  const parsed = typeof connect === 'string' ? parseConnectString(connect) : undefined;
  if (!parsed) {
    throw new TypeError(
      `zookeeperLock({ connect }): connect is ${shown(connect)}; it must be like 'host:2181' or 'host1:2181,host2:2181,host3:2181/path'`,
    );
  }
  const isInRange =
    Number.isSafeInteger(sessionTimeoutMs) &&
    sessionTimeoutMs >= LEAST_SESSION_TIMEOUT_MS &&
    sessionTimeoutMs <= LONGEST_SESSION_TIMEOUT_MS;
  if (!isInRange) {
    throw new TypeError(
      `sessionTimeoutMs is ${shown(sessionTimeoutMs)}; it must be an integer of at least ${LEAST_SESSION_TIMEOUT_MS} (milliseconds), e.g. ${DEFAULT_SESSION_TIMEOUT_MS}`,
    );
  }
  if (typeof root !== 'string' || !ROOT.test(root)) {
    throw new TypeError(
      `root is ${shown(root)}; it must be an absolute path without a slash at its end, e.g. '${DEFAULT_ROOT}'`,
    );
  }
  return { servers: parsed.servers, root: parsed.chroot + root, sessionTimeoutMs };
}

function shown(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}
