import type { Delivery, Next } from './messages.js';
import type { Queue } from './queue.js';

/** Stands in for a broker in the process of the lab. */
export class InProcessQueue implements Queue {
  private ready: Delivery[] = [];
  private readonly timers = new Set<NodeJS.Timeout>();

  /** @param inHand what each of the services that are alive works on. */
  constructor(
    private readonly prefetch: number,
    private readonly inHand: Map<string, Set<Delivery>>,
    private readonly deliver: (service: string, delivery: Delivery) => void,
  ) {}

  async publish(delivery: Delivery): Promise<void> {
    this.ready.push(delivery);
    this.dispatch();
  }

  answered(service: string, { id }: Delivery, next: Next): void {
    const hand = this.inHand.get(service);
    for (const delivery of hand ?? []) if (delivery.id === id) hand!.delete(delivery);
    if ('afterMs' in next) {
      const timer = setTimeout(() => {
        this.timers.delete(timer);
        void this.publish(next.delivery);
      }, next.afterMs);
      this.timers.add(timer);
    }
    this.dispatch();
  }

  lost(service: string): void {
    this.ready.unshift(...(this.inHand.get(service) ?? []));
    this.inHand.delete(service);
    this.dispatch();
  }

  async close(): Promise<void> {
    this.ready = [];
    for (const timer of this.timers) clearTimeout(timer);
  }

  /** To the one with the least to do. */
  private dispatch(): void {
    while (this.ready.length > 0) {
      const [service, hand] = [...this.inHand].toSorted(([, a], [, b]) => a.size - b.size)[0] ?? [];
      if (!service || !hand || hand.size >= this.prefetch) return;
      const delivery = this.ready.shift()!;
      hand.add(delivery);
      this.deliver(service, delivery);
    }
  }
}
