import type { Need, Outcome, Point, Scheme } from './scheme.js';

/** One thing that happens to refunds. The same script for every scheme; only the ledger judges. */
export interface Scenario {
  /** In kebab case; unique. */
  readonly id: string;
  readonly name: string;
  /** One or two sentences: what happens. */
  readonly story: string;
  /** For those that say something about one scheme only. */
  readonly only?: Scheme['id'];
  /** Servers that it needs beside those of the scheme. */
  readonly needs?: readonly Need[];
  /** What it does to servers, if anything. */
  readonly strikes?: Fault;
  /** Past it what is not answered is given up. @default 6 times the TTL */
  readonly patienceMs?: number;
  /** How many messages a payment service works on at a time. @default 1: a duplicate goes to another */
  readonly prefetch?: number;
  play(stage: Stage): Promise<void>;
}

/** What a scenario may do to the payment services, the queue and the servers. */
export interface Stage {
  readonly scheme: Scheme;
  readonly ttlMs: number;
  /** Publishes to the queue. Resolves when the queue has it. */
  send(request?: Partial<SendOptions>): Promise<Sent>;
  /** The first that comes to one of these points from now on is held there. Rejects when nobody comes. */
  holdOneAt(...points: Point[]): Promise<Held>;
  /** Everybody who comes to one of these points from now on is held there, until the function returned is called. */
  holdAllAt(...points: Point[]): () => void;
  /** Until each of them is answered, given up, or held. */
  untilAnsweredOrHeld(...sent: Sent[]): Promise<void>;
  /** How long every payout takes from now on, before `before-effect`. @default 0 */
  bankTakes(ms: number): void;
  sleep(ms: number): Promise<void>;
  /** SIGKILLs a payment service that works on a request. @returns its name; undefined when nobody does. */
  killOneAtWork(): Promise<string | undefined>;
  readonly faults: Faults;
  /** For the timeline. */
  note(text: string): void;
}

export interface SendOptions {
  /** @default 1999 */
  readonly amount: number;
  /** @default 0 */
  readonly shard: number;
  /**
   * What the caller does who hears `in-progress` or an error: a person or a gateway that gives up (somebody is at it
   * already), or a queue that brings it again until it has an answer. A message whose consumer dies comes again in
   * both cases.
   */
  readonly whenBusy: 'give-up' | 'retry';
  /** The acknowledgement is lost: the queue brings it once more so long after the first answer. */
  readonly redeliverAfterMs: number;
}

/** One message in the queue. */
export interface Sent {
  /** `given-up`: its time was over, or its caller heard `in-progress` and gave up. Never rejects. */
  readonly answered: Promise<Outcome | 'given-up'>;
}

/** A payment service that stands still at a point. */
export interface Held {
  /** `payment-1`, … */
  readonly service: string;
  readonly point: Point;
  release(): void;
  /** SIGKILL. The queue notices and brings its messages to another. */
  kill(): Promise<void>;
  /** SIGSTOP: its connections stay open, its timers and heartbeats stand still. */
  freeze(): Promise<void>;
  /** SIGCONT, and the point is passed. */
  thaw(): Promise<void>;
}

/** What may be done to the servers that a scheme needs; by name of the fault, as each kind of server suffers it. */
export interface Faults {
  /** What has to be so before the lock is taken, that the fault is met for certain and not by luck. */
  prepare(fault: Fault): Promise<void>;
  /** @param holder the service that has the lock, where it matters what it can reach. */
  strike(fault: Fault, holder?: string): Promise<void>;
  /** What was struck serves again, as far as it ever will. */
  heal(fault: Fault): Promise<void>;
}

export type Fault =
  /** A node is killed and comes back empty. */
  | 'restart-empty'
  /** The master dies and its replica takes over; of nodes without a master: a minority dies. */
  | 'failover'
  /** A database dies, and comes back with `heal`, with all it has committed. */
  | 'database-down';
