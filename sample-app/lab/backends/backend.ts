import type { Fault } from '../scenario.js';
import type { Addresses } from '../stage/messages.js';

/** For the timeline: whose lane, and what happens there. */
export type Tell = (lane: string, kind: 'fault' | 'healed', text: string) => void;

/** Servers of one kind, and how they suffer each fault. What they do not know of does nothing to them. */
export interface Backend {
  /** As this payment service reaches them. */
  addressesFor(service: string): Partial<Addresses>;
  /** Resolves when a cell may begin. */
  ready(ttlMs: number): Promise<void>;
  prepare(fault: Fault, tell: Tell): Promise<void>;
  strike(fault: Fault, tell: Tell, holder: string | undefined): Promise<void>;
  heal(fault: Fault, tell: Tell): Promise<void>;
  stop(): Promise<void>;
}
