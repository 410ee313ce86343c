import type { Outcome, Point, Scheme } from './scheme.js';

/** One thing that happens to refunds. The same script for every scheme; only the ledger judges. */
export interface Scenario {
  /** In kebab case; unique. */
  readonly id: string;
  readonly name: string;
  /** One or two sentences: what happens. */
  readonly story: string;
  /** For those that say something about one scheme only. */
  readonly only?: Scheme['id'];
  /** A server that cells share goes down: no other cell may run meanwhile. */
  readonly alone?: boolean;
  /** Past it what is not answered is given up. @default 6 times the TTL */
  readonly patienceMs?: number;
  play(stage: Stage): Promise<void>;
}

/** What a scenario may do to the payment services, the queue and the servers. */
export interface Stage {
  readonly scheme: Scheme;
  readonly ttlMs: number;
  /** Publishes to the queue. Resolves when the queue has it. */
  send(request?: Partial<SendOptions>): Promise<Sent>;
  /** From now on who comes to one of these points is held there. */
  holdAt(...points: Point[]): Hold;
  /** Until each of them is answered, given up, or held. */
  untilAnsweredOrHeld(...sent: Sent[]): Promise<void>;
  /** How long every payout takes from now on, before `before-effect`. @default 0 */
  bankTakes(ms: number): void;
  sleep(ms: number): Promise<void>;
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

export interface Hold {
  /** The next one that is held. Rejects when nobody comes. */
  next(): Promise<Held>;
  /** Everybody held goes on, and nobody is held any more. */
  release(): void;
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
  strike(fault: Fault): Promise<void>;
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
