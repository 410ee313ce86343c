import { LockDriver, type AcquireAnswer, type LockRef } from '../../lib/locks/lock-driver.js';
import type { RedlockClient } from '../../lib/locks/redis/index.js';
import type { Request, SimulatedNode } from './simulated-node.js';
import type { Simulator } from './simulator.js';

export interface NetworkTraits {
  readonly delayMs: number;
  /** Probabilities. */
  readonly loss: number;
  readonly duplication: number;
  /** Requests under way when the connection breaks are sent again over the next one, as ioredis does. */
  readonly resends: boolean;
}

interface Call {
  readonly request: Request;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
}

/**
 * The connection of one client to one node: a lock driver on the one side, what an ioredis client tells of its
 * connection on the other. Messages take their time and get lost, doubled and out of order.
 */
export class SimulatedLink extends LockDriver {
  readonly name: string;
  status = 'ready';
  /** Added to the delay of every message. */
  slowMs = 0;
  isCut = false;
  private epoch = 0;
  /** The run of the node it is connected to. */
  private run = 0;
  private readonly calls = new Set<Call>();
  private readonly listeners = new Map<string, (() => void)[]>();

  constructor(
    private readonly simulator: Simulator,
    private readonly node: SimulatedNode,
    private readonly traits: NetworkTraits,
    /** Does it in the client's process, when that runs. */
    private readonly inClient: (happen: () => void) => void,
  ) {
    super();
    this.name = node.name;
    this.open();
  }

  /** What the franchise of Redlock needs of a client. */
  get client(): RedlockClient {
    return {
      on: (event: string, listener: () => void) =>
        void this.listeners.set(event, [...(this.listeners.get(event) ?? []), listener]),
      info: () => this.call({ do: 'info' }) as Promise<string>,
      status: this.status,
    } as unknown as RedlockClient;
  }

  acquire(_: string, token: string, ttlMs: number, leastFence = 0n): Promise<AcquireAnswer> {
    return this.call({ do: 'acquire', token, ttlMs, leastFence }) as Promise<AcquireAnswer>;
  }

  async extend(locks: readonly LockRef[], ttlMs: number): Promise<boolean[]> {
    return [(await this.call({ do: 'extend', token: locks[0]!.token, ttlMs })) as boolean];
  }

  release(_: string, token: string): Promise<boolean> {
    return this.call({ do: 'release', token }) as Promise<boolean>;
  }

  override async raiseFence(_: string, fence: bigint): Promise<void> {
    await this.call({ do: 'raise', fence });
  }

  private call(request: Request): Promise<unknown> {
    if (this.status !== 'ready') return Promise.reject(new Error('not connected'));
    return new Promise((resolve, reject) => {
      const call = { request, resolve, reject };
      this.calls.add(call);
      this.send(call);
    });
  }

  private send(call: Call): void {
    const { epoch, run } = this;
    const isVital = call.request.do === 'info';
    const copies = !isVital && this.simulator.chance(this.traits.duplication) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      this.travel(isVital, () =>
        this.node.arrive(() => {
          // A node that was started since knows nothing of this connection.
          if (run !== this.node.run) return;
          const answer = this.node.execute(call.request);
          this.travel(isVital, () =>
            this.inClient(() => {
              if (epoch !== this.epoch || !this.calls.delete(call)) return;
              call.resolve(answer);
            }),
          );
        }),
      );
    }
  }

  private travel(isVital: boolean, arrive: () => void): void {
    const { delayMs, loss } = this.traits;
    if (!isVital && (this.isCut || this.simulator.chance(loss))) return;
    this.simulator.after(this.slowMs + this.simulator.upTo(delayMs), arrive);
  }

  private open(): void {
    this.run = this.node.run;
    this.node.connect(() =>
      this.simulator.after(this.simulator.upTo(20), () => this.inClient(() => this.broken())),
    );
  }

  private broken(): void {
    this.epoch++;
    this.status = 'close';
    this.tell('close');
    if (!this.traits.resends) {
      for (const call of this.calls) call.reject(new Error('the connection broke'));
      this.calls.clear();
    }
    this.reconnect();
  }

  private reconnect(): void {
    this.simulator.after(20 + this.simulator.upTo(100), () =>
      this.inClient(() => {
        if (!this.node.isUp) return this.reconnect();
        this.status = 'ready';
        this.open();
        for (const call of this.calls) this.send(call);
        this.tell('ready');
      }),
    );
  }

  private tell(event: string): void {
    for (const listener of this.listeners.get(event) ?? []) listener();
  }
}
