import type { Held } from '../scenario.js';
import type { Point } from '../scheme.js';
import type { Moment } from '../timeline.js';
import type { PaymentService } from './payment-service.js';

/** A payment service that stands still at a point, for one request. */
export class HeldService implements Held {
  private isFree = false;
  private isFrozen = false;

  constructor(
    private readonly process: PaymentService,
    readonly point: Point,
    private readonly visit: number,
    private readonly stage: {
      free(): void;
      tell(kind: Moment['kind'], text: string): void;
      lost(): void;
    },
  ) {}

  get service(): string {
    return this.process.name;
  }

  release(): void {
    if (this.isFree) return;
    this.free();
    this.process.send({ type: 'pass', visit: this.visit });
  }

  async kill(): Promise<void> {
    this.free();
    // Told first: the queue may bring its message to another before its end is known here.
    this.stage.tell('fault', `is killed ${PLACES[this.point]}`);
    await this.process.kill();
    this.stage.lost();
  }

  async freeze(): Promise<void> {
    this.process.freeze();
    this.isFrozen = true;
    this.stage.tell('fault', `stands still ${PLACES[this.point]}`);
  }

  async thaw(): Promise<void> {
    if (this.isFrozen) {
      this.process.thaw();
      this.isFrozen = false;
      this.stage.tell('healed', 'runs again, and knows of nothing');
    }
    this.release();
  }

  private free(): void {
    this.isFree = true;
    this.stage.free();
  }
}

const PLACES: Record<Point, string> = {
  'before-effect': 'right before the bank pays',
  'after-effect': 'right after the bank has paid',
  looked: 'after it has looked',
  'half-claimed': 'with half a claim',
  'about-to-release': 'right before it deletes the lock',
};
