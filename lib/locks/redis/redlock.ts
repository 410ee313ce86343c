import { systemClock } from '../../engine/clock.js';
import { checkRedisOptions } from '../../redis/redis-client.js';
import { checkLockDelay, type LockDelayOptions } from '../lock-delay.js';
import type { AcquireAnswer, ExtendAnswer, LockRef } from '../lock-driver.js';
import { checkMs, checkQuorumOptions, type QuorumOptions } from '../quorum/options.js';
import { QuorumLock } from '../quorum/quorum.lock.js';
import { type RedlockClient, RedlockFranchise } from './redlock-franchise.js';
import { RedisLock } from './redis-lock.js';

export interface RedlockOptions extends QuorumOptions, LockDelayOptions {
  /**
   * One ioredis client for each server; an odd number, at least three. The servers are independent of each
   * other: no replicas, no Sentinel, no Cluster. You make the clients and you end them; they may be shared.
   */
  readonly clients: readonly RedlockClient[];
  /**
   * A server that was restarted has no vote until all locks it may have forgotten have run out. Switch it off
   * only where every server writes each command to disk before it answers (`appendfsync always`). It needs the
   * permission for INFO; a server that refuses it has no vote for that time after each connection.
   * @default true
   */
  readonly delayedRestart?: boolean;
  /**
   * The longest life, in milliseconds, of the locks that any process takes on these servers: so long a
   * restarted server has no vote. A longer one taken by this process counts as well. @default 60000
   */
  readonly maxTtlMs?: number;
  /** What all keys begin with; without braces. @default 'idem:' */
  readonly keyPrefix?: string;
}

/** A server whose answers do not count at present. */
export interface ExcludedNode {
  /** Its place in `clients`. */
  readonly node: number;
  /** `restarted`, or `refuses INFO`: then nobody knows. */
  readonly reason: string;
  /** Milliseconds until it has a vote again. */
  readonly forMs: number;
}

const DEFAULT_MAX_TTL_MS = 60_000;

/**
 * Locks on a majority of independent Redis servers, see `QuorumLock`. They hold while a minority of the servers
 * is down, and, because restarted servers have no vote for a while, also when servers come back empty.
 */
export class Redlock extends QuorumLock {
  private readonly franchises: readonly RedlockFranchise[];
  private readonly longest: { ttlMs: number };

  /** @throws TypeError when an option is not what it should be. */
  constructor(options: RedlockOptions) {
    checkOptions(options);
    const { clients, delayedRestart = true, maxTtlMs = DEFAULT_MAX_TTL_MS, keyPrefix } = options;
    const longest = { ttlMs: maxTtlMs };
    const lockDelayMs = checkLockDelay(options);
    const franchises = delayedRestart
      ? clients.map((client) => new RedlockFranchise(client, () => longest.ttlMs + lockDelayMs, systemClock))
      : [];
    const nodes = clients.map((client, node) => ({
      driver: new RedisLock({ client, lockDelayMs, ...(keyPrefix === undefined ? {} : { keyPrefix }) }),
      ...(franchises[node] ? { franchise: franchises[node] } : {}),
    }));
    super('redlock', nodes, options);
    this.franchises = franchises;
    this.longest = longest;
  }

  /** The servers that have no vote at present because they may have forgotten locks. For metrics and health. */
  get excluded(): ExcludedNode[] {
    return this.franchises.flatMap(({ exclusion }, node) => (exclusion ? [{ node, ...exclusion }] : []));
  }

  override acquire(name: string, token: string, ttlMs: number): Promise<AcquireAnswer> {
    this.longest.ttlMs = Math.max(this.longest.ttlMs, ttlMs);
    return super.acquire(name, token, ttlMs);
  }

  override extend(locks: readonly LockRef[], ttlMs: number): Promise<ExtendAnswer[]> {
    this.longest.ttlMs = Math.max(this.longest.ttlMs, ttlMs);
    return super.extend(locks, ttlMs);
  }
}

/**
 * Locks on a majority of independent Redis servers, by the clients you give.
 *
 * @throws TypeError when an option is not what it should be.
 */
export function redlock(options: RedlockOptions): Redlock {
  return new Redlock(options);
}

function checkOptions(options: RedlockOptions): void {
  const clients: readonly unknown[] | undefined = options?.clients;
  const fix =
    'give one ioredis client for each server, e.g. redlock({ clients: urls.map((url) => new Redis(url)) })';
  if (!Array.isArray(clients) || clients.length === 0) {
    throw new TypeError(`redlock({ clients }): there is no client; ${fix}`);
  }
  clients.forEach((client: unknown, index) => {
    const which = `redlock({ clients }): clients[${index}]`;
    if (!isClient(client)) throw new TypeError(`${which} is no ioredis client; ${fix}`);
    if (client.isCluster) {
      throw new TypeError(`${which} is a Cluster, whose failovers forget locks; ${fix}`);
    }
    const first = clients.indexOf(client);
    if (first < index) {
      throw new TypeError(`${which} is clients[${first}] once more; each server has one vote; ${fix}`);
    }
  });
  checkRedisOptions('redlock', { client: clients[0], keyPrefix: options.keyPrefix });
  checkQuorumOptions('redlock', options);
  if (options.maxTtlMs !== undefined) checkMs('redlock', 'maxTtlMs', options.maxTtlMs);
}

function isClient(value: unknown): value is RedlockClient {
  return ['connect', 'duplicate', 'on', 'evalsha', 'eval', 'info'].every(
    (method) => typeof (value as Record<string, unknown> | null | undefined)?.[method] === 'function',
  );
}
