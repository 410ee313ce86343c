import type { Outcome, Point, RefundCommand } from '../scheme.js';

/** One message of the queue, as it travels. */
export interface Delivery {
  readonly id: number;
  readonly command: RefundCommand;
  readonly whenBusy: 'give-up' | 'retry';
  /** Set as long as the message is to come once more after its first answer. */
  readonly redeliverAfterMs?: number;
  /** When whoever waits for an answer loses patience, as `Date.now()`. */
  readonly until: number;
}

/** Where the servers of a cell are. */
export interface Addresses {
  readonly redis?: string;
  readonly redisNodes?: readonly string[];
  readonly zookeeper?: string;
  readonly database: string;
  readonly databases?: readonly string[];
  /** None: the queue is in the process of the lab. */
  readonly rabbitmq?: string;
}

/** A part to play. */
export interface Part {
  readonly scheme: string;
  /** Also the name of the queue. */
  readonly prefix: string;
  readonly ttlMs: number;
  readonly prefetch: number;
  readonly addresses: Addresses;
}

/** From the lab to a payment service. */
export type Order =
  | { readonly type: 'open'; readonly part: Part }
  | { readonly type: 'deliver'; readonly delivery: Delivery }
  | { readonly type: 'bank-takes'; readonly ms: number }
  | { readonly type: 'pass'; readonly visit: number }
  | { readonly type: 'close' };

/** From a payment service to the lab. */
export type Report =
  | { readonly type: 'up' | 'opened' | 'closed' }
  | { readonly type: 'failed'; readonly error: string }
  | { readonly type: 'delivered'; readonly delivery: Delivery }
  | { readonly type: 'answered'; readonly delivery: Delivery; readonly answer: Answer; readonly next: Next }
  | { readonly type: 'point'; readonly visit: number; readonly point: Point; readonly delivery: number }
  | { readonly type: 'note' | 'payout'; readonly text: string };

/** `error`: what the handler threw. */
export type Answer = { readonly outcome: Outcome } | { readonly error: string };

/** What becomes of a message after an answer: it is over, or it comes again as `delivery`. */
export type Next =
  { readonly over: Outcome | 'given-up' } | { readonly afterMs: number; readonly delivery: Delivery };

/** How long a queue waits before it brings a message again that met somebody else at work. */
const RETRY_MS = 200;

/** The rule of every queue here. */
export function nextOf(delivery: Delivery, answer: Answer): Next {
  const outcome = 'outcome' in answer ? answer.outcome : 'in-progress';
  if (outcome !== 'in-progress') {
    const { redeliverAfterMs: afterMs, ...last } = delivery;
    return afterMs === undefined ? { over: outcome } : { afterMs, delivery: last };
  }
  const isPatient = delivery.whenBusy === 'retry' && Date.now() + RETRY_MS < delivery.until;
  return isPatient ? { afterMs: RETRY_MS, delivery } : { over: 'given-up' };
}
