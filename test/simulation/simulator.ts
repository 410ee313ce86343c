/** Runs a world in virtual time. Equal seeds give equal histories. */
export class Simulator {
  /** True time, in milliseconds; no process in the world knows it. */
  now = 0;
  readonly random: () => number;
  /** What happened, for people. */
  readonly trace: string[] = [];
  private readonly events = new Heap();
  private count = 0;

  constructor(seed: number) {
    this.random = mulberry32(seed);
  }

  /** Does it `delayMs` from now, after all that was to happen at that time before, unless called off. */
  after(delayMs: number, happen: () => void): () => void {
    const event = { at: this.now + Math.max(0, delayMs), order: this.count++, happen, isOff: false };
    this.events.push(event);
    return () => {
      event.isOff = true;
    };
  }

  /** Runs until `until`; then nothing more happens. */
  async run(until: number): Promise<void> {
    for (let event = this.events.pop(); event && event.at <= until; event = this.events.pop()) {
      if (event.isOff) continue;
      this.now = event.at;
      event.happen();
      // Everything that follows from it without waiting has to have happened before the next event.
      await settled();
    }
  }

  log(what: string): void {
    this.trace.push(`${this.now.toFixed(1)} ${what}`);
  }

  /** A number from 0 to `most`; small ones are more frequent. */
  upTo(most: number): number {
    return most * this.random() ** 2;
  }

  chance(probability: number): boolean {
    return this.random() < probability;
  }
}

function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

interface Event {
  readonly at: number;
  readonly order: number;
  readonly happen: () => void;
  isOff: boolean;
}

/** A binary heap: the earliest first, of equal ones that which was added first. */
class Heap {
  private readonly events: Event[] = [];

  push(event: Event): void {
    const { events } = this;
    let at = events.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(event, events[parent]!)) break;
      events[at] = events[parent]!;
      at = parent;
    }
    events[at] = event;
  }

  pop(): Event | undefined {
    const { events } = this;
    const first = events[0];
    const last = events.pop();
    if (!first || !last || events.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child + 1 < events.length && isBefore(events[child + 1]!, events[child]!)) child++;
      if (child >= events.length || !isBefore(events[child]!, last)) break;
      events[at] = events[child]!;
      at = child;
    }
    events[at] = last;
    return first;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
