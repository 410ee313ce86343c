import type { Delivery, Next } from './messages.js';

/** Takes messages to the payment services, each at least once, to as many at a time as their prefetch allows. */
export interface Queue {
  /** Resolves when the queue has it. */
  publish(delivery: Delivery): Promise<void>;
  /** A payment service has answered. */
  answered(service: string, delivery: Delivery, next: Next): void;
  /** A payment service is gone: what it had in hand comes again. */
  lost(service: string): void;
  close(): Promise<void>;
}
