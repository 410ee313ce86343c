import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend } from '../backends/backend.js';
import type { Held, Scenario, SendOptions, Sent, Stage } from '../scenario.js';
import type { Outcome, Point, Scheme } from '../scheme.js';
import type { Moment } from '../timeline.js';
import { HeldService } from './held-service.js';
import type { Report } from './messages.js';
import type { PaymentService } from './payment-service.js';
import type { Queue } from './queue.js';

export interface StageOptions {
  readonly ttlMs: number;
  /** Unique; begins the names of everything that this cell leaves in servers. */
  readonly prefix: string;
  readonly onMoment: (moment: Moment) => void;
}

const AMOUNT = 1_999;
/** How many TTLs until nobody waits any more. */
const PATIENCE = 6;

interface Message {
  readonly sent: Sent;
  readonly over: (outcome: Outcome | 'given-up') => void;
  isOver: boolean;
  /** At which point of which service it stands still. */
  heldAt: Set<HeldService>;
}

/** What a scenario does to the three services, the queue and the servers of a cell. */
export class PlayedStage implements Stage {
  readonly ttlMs: number;
  readonly faults: Stage['faults'];
  private readonly begin = performance.now();
  private readonly messages = new Map<number, Message>();
  private readonly patienceMs: number;
  private heldForAll = new Set<Point>();
  private catchers = new Set<{ points: readonly Point[]; caught: (held: Held) => void }>();
  private readonly held = new Set<HeldService>();
  private news = new Set<() => void>();
  /** How many requests each of the services has in hand. */
  private readonly atWork = new Map<string, number>();
  private struck: Parameters<Stage['faults']['strike']>[0] | undefined;

  constructor(
    readonly scheme: Scheme,
    scenario: Scenario,
    private readonly services: readonly PaymentService[],
    backends: readonly Backend[],
    private readonly queue: Queue,
    private readonly options: StageOptions,
  ) {
    this.ttlMs = options.ttlMs;
    this.patienceMs = scenario.patienceMs ?? PATIENCE * this.ttlMs;
    for (const service of services) service.listen((report) => this.hear(service, report));
    const tell = (lane: string, kind: 'fault' | 'healed', text: string) => this.tell(lane, kind, text);
    this.faults = {
      prepare: (fault) => {
        this.struck = fault;
        return all(backends, (backend) => backend.prepare(fault, tell));
      },
      strike: (fault, holder) => {
        this.struck = fault;
        return all(backends, (backend) => backend.strike(fault, tell, holder));
      },
      heal: (fault) => {
        this.struck = undefined;
        return all(backends, (backend) => backend.heal(fault, tell));
      },
    };
  }

  async send(request: Partial<SendOptions> = {}): Promise<Sent> {
    const { amount = AMOUNT, shard = 0, whenBusy = 'retry', redeliverAfterMs } = request;
    const id = this.messages.size + 1;
    let over!: Message['over'];
    const sent: Sent = { answered: new Promise((done) => (over = done)) };
    const message: Message = { sent, over, isOver: false, heldAt: new Set() };
    this.messages.set(id, message);
    const command = { orderId: this.options.prefix, amount, shard };
    const until = Date.now() + this.patienceMs;
    const what = amount === AMOUNT ? '' : `, with the amount ${amount}`;
    this.tell('queue', 'sent', `request ${id} arrives${what}${shard ? `, for shard ${shard}` : ''}`);
    await this.queue.publish({
      id,
      command,
      whenBusy,
      until,
      ...(redeliverAfterMs !== undefined && { redeliverAfterMs }),
    });
    const timer = setTimeout(() => this.end(message, 'given-up'), this.patienceMs + this.ttlMs);
    void sent.answered.then(() => clearTimeout(timer));
    return sent;
  }

  holdOneAt(...points: Point[]): Promise<Held> {
    return new Promise((caught, failed) => {
      const late = () =>
        failed(new Error(`nobody came to ${points.join(' or ')} within ${this.patienceMs} ms`));
      const timer = setTimeout(late, this.patienceMs);
      const catcher = {
        points,
        caught: (held: Held) => {
          clearTimeout(timer);
          this.catchers.delete(catcher);
          caught(held);
        },
      };
      this.catchers.add(catcher);
    });
  }

  holdAllAt(...points: Point[]): () => void {
    for (const point of points) this.heldForAll.add(point);
    return () => {
      for (const point of points) this.heldForAll.delete(point);
      for (const held of this.held) if (points.includes(held.point)) held.release();
    };
  }

  async untilAnsweredOrHeld(...sent: Sent[]): Promise<void> {
    const mine = [...this.messages.values()].filter((message) => sent.includes(message.sent));
    while (!mine.every(({ isOver, heldAt }) => isOver || heldAt.size > 0)) {
      await new Promise<void>((heard) => this.news.add(heard));
    }
  }

  bankTakes(ms: number): void {
    for (const service of this.services) service.send({ type: 'bank-takes', ms });
  }

  async sleep(ms: number): Promise<void> {
    await sleep(ms);
  }

  async killOneAtWork(): Promise<string | undefined> {
    const service = this.services.find((it) => it.alive && (this.atWork.get(it.name) ?? 0) > 0);
    if (!service) return undefined;
    await service.kill();
    this.tell(service.name, 'fault', 'is killed');
    this.queue.lost(service.name);
    return service.name;
  }

  note(text: string): void {
    this.tell('queue', 'note', text);
  }

  /** Nobody stays held or struck, and everybody has an answer. */
  async finish(): Promise<void> {
    this.heldForAll.clear();
    for (const held of this.held) await held.thaw();
    if (this.struck) await this.faults.heal(this.struck);
    await Promise.all([...this.messages.values()].map(({ sent }) => sent.answered));
    // Whose caller has given up may still be about to pay.
    const over = performance.now() + this.patienceMs;
    while (this.services.some((it) => it.alive && this.atWork.get(it.name)) && performance.now() < over) {
      await sleep(20);
    }
  }

  tell(lane: string, kind: Moment['kind'], text: string): void {
    this.options.onMoment({ atMs: Math.round(performance.now() - this.begin), lane, kind, text });
  }

  private hear(service: PaymentService, report: Report): void {
    switch (report.type) {
      case 'delivered':
        this.count(service.name, 1);
        this.tell(service.name, 'delivered', `gets request ${report.delivery.id}`);
        break;
      case 'answered': {
        const { delivery, answer, next } = report;
        this.count(service.name, -1);
        this.queue.answered(service.name, delivery, next);
        const again = 'afterMs' in next ? `; comes again in ${next.afterMs} ms` : '';
        if ('error' in answer)
          this.tell(service.name, 'error', `request ${delivery.id}: ${answer.error}${again}`);
        else this.tell(service.name, 'answered', `request ${delivery.id}: ${answer.outcome}${again}`);
        if ('over' in next) this.end(this.messages.get(delivery.id)!, next.over);
        break;
      }
      case 'point':
        this.visited(service, report);
        break;
      case 'note':
      case 'payout':
        this.tell(service.name, report.type, report.text);
        break;
      case 'failed':
        this.tell(service.name, 'error', report.error);
    }
    this.wake();
  }

  private visited(service: PaymentService, { visit, point, delivery }: Report & { type: 'point' }): void {
    const catcher = [...this.catchers].find(({ points }) => points.includes(point));
    if (!catcher && !this.heldForAll.has(point)) return service.send({ type: 'pass', visit });
    const message = this.messages.get(delivery)!;
    const held = new HeldService(service, point, visit, {
      free: () => {
        this.held.delete(held);
        message.heldAt.delete(held);
      },
      tell: (kind, text) => this.tell(service.name, kind, text),
      lost: () => this.queue.lost(service.name),
    });
    this.held.add(held);
    message.heldAt.add(held);
    catcher?.caught(held);
  }

  private end(message: Message, outcome: Outcome | 'given-up'): void {
    message.isOver = true;
    message.over(outcome);
    this.wake();
  }

  private count(service: string, change: number): void {
    this.atWork.set(service, (this.atWork.get(service) ?? 0) + change);
  }

  private wake(): void {
    for (const heard of this.news) heard();
    this.news.clear();
  }
}

async function all<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  await Promise.all(items.map(work));
}
