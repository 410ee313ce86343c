import type { Redis } from 'ioredis';
import type { DataSource, EntityManager } from 'typeorm';

/** What a payment service answers the caller of a refund. */
export type Outcome =
  /** Paid now. */
  | 'paid'
  /** Paid before; nothing was done, and nothing will be. */
  | 'duplicate'
  /** Somebody is at it: whoever gives up does so here; a queue brings it again. */
  | 'in-progress'
  /** Not the same refund, or not one that may be paid any more. For ever. */
  | 'refused';

/** What arrives again and again. */
export interface RefundCommand {
  readonly orderId: string;
  /** In cents. */
  readonly amount: number;
  /**
   * Where whoever routes requests says that this order's rows are: 0 in the shop's own database,
   * 1 to 3 in that one of `Site.databases()`.
   */
  readonly shard: number;
}

/** Must answer; throws when it could not find out, and then comes again. */
export type Refund = (command: RefundCommand) => Promise<Outcome>;

/** The servers a scheme keeps its locks or rows in. */
export type Need =
  /** One Redis, seen through an address that moves with the master; it has a replica. */
  | 'redis'
  /** Five Redis nodes that know nothing of each other. */
  | 'redis-nodes'
  | 'zookeeper'
  /** The shop's database; the ledger is in it, too. */
  | 'database'
  /** Three databases beside it. */
  | 'databases';

/** One way of making sure that an order is refunded once. Every payment service opens it for itself. */
export interface Scheme {
  /** In kebab case; unique. */
  readonly id: string;
  /** Its place in the matrix, from 1. */
  readonly number: number;
  /** `shipped`: through this library, as its users do. `exhibit`: as people write it; never to be copied. */
  readonly kind: 'shipped' | 'exhibit';
  readonly name: string;
  /** One sentence: how it works, in the words of those who recommend it. */
  readonly claim: string;
  readonly needs: readonly Need[];
  /** Connects, makes its tables if it has any (several services may do so at once), and is ready to refund. */
  open(site: Site): Promise<Refund>;
}

/** What a payment service lends a scheme. Whatever it hands out it closes itself. */
export interface Site {
  /** How long a lock lives that nobody renews, in milliseconds. */
  readonly ttlMs: number;
  /** Names of locks, keys and rows should begin with it: services of other cells use the same servers. */
  readonly prefix: string;
  redis(): Redis;
  /** All five, in order. Those that are down are among them. */
  redisNodes(): Redis[];
  /** `host:port,host:port,host:port`. */
  zookeeper(): string;
  database(): Promise<DataSource>;
  /** All three, in order. Also the shards of the scenario `sharded`. */
  databases(): Promise<DataSource[]>;
  readonly bank: Bank;
  /** A place where a scenario may stop, kill or hold the process; else it is passed at once. */
  point(name: Point): Promise<void>;
  /** For the timeline, e.g. `has the lock, fence 7`. */
  note(text: string): void;
  /** In the opposite order of the calls, when the service has done its part. */
  onClose(close: () => unknown): void;
}

/** `before-effect` and `after-effect` are the bank's; a scheme names those of its own that matter. */
export type Point =
  | 'before-effect'
  | 'after-effect'
  /** Looked, found nothing, and has not claimed yet. */
  | 'looked'
  /** Has claimed by halves, e.g. a lock that does not expire yet. */
  | 'half-claimed'
  /** Has seen that the lock is its own, and is about to delete it. */
  | 'about-to-release';

/** Pays out. One row of its ledger is one payout; it does not ask whether there was one before. */
export interface Bank {
  /**
   * Passes `before-effect`, pays, passes `after-effect`.
   *
   * @returns false when it did not pay because it has seen a higher fence for this order.
   */
  pay(command: RefundCommand, options?: PayOptions): Promise<boolean>;
}

export interface PayOptions {
  /** Pay in this transaction: money leaves when it commits. */
  readonly manager?: EntityManager;
  /** The number of the lock the payer holds. */
  readonly fence?: bigint;
}
