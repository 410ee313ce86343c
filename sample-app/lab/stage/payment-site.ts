import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { DataSource } from 'typeorm';
import type { Bank, PayOptions, Point, RefundCommand, Site } from '../scheme.js';
import { connect } from './databases.js';
import { Ledger } from './ledger.js';
import type { Part } from './messages.js';

interface Ears {
  point(name: Point): Promise<void>;
  note(text: string): void;
  payout(text: string): void;
}

/** What this process lends the scheme, for one part. */
export class PaymentSite implements Site {
  readonly ttlMs: number;
  readonly prefix: string;
  readonly bank: Bank = { pay: (command, options = {}) => this.pay(command, options) };
  bankLatencyMs = 0;
  private readonly closers: (() => unknown)[] = [];
  private ledger: Promise<Ledger> | undefined;

  constructor(
    private readonly part: Part,
    private readonly ears: Ears,
  ) {
    this.ttlMs = part.ttlMs;
    this.prefix = part.prefix;
  }

  redis(): Redis {
    return this.client(this.address('redis'));
  }

  redisNodes(): Redis[] {
    return this.address('redisNodes').map((url) => this.client(url));
  }

  zookeeper(): string {
    return this.address('zookeeper');
  }

  database(): Promise<DataSource> {
    return this.open(this.part.addresses.database);
  }

  databases(): Promise<DataSource[]> {
    return Promise.all(this.address('databases').map((url) => this.open(url)));
  }

  point(name: Point): Promise<void> {
    return this.ears.point(name);
  }

  note(text: string): void {
    this.ears.note(text);
  }

  onClose(close: () => unknown): void {
    this.closers.push(close);
  }

  async close(): Promise<void> {
    for (const close of this.closers.toReversed()) await close();
  }

  private async pay(command: RefundCommand, options: PayOptions): Promise<boolean> {
    await sleep(this.bankLatencyMs);
    await this.point('before-effect');
    this.ledger ??= this.database().then((dataSource) => new Ledger(dataSource));
    const hasPaid = await (await this.ledger).pay(command, options);
    if (hasPaid) {
      this.ears.payout(`pays ${command.amount}${options.manager ? ', when its transaction commits' : ''}`);
    } else {
      this.note(`the bank refuses fence ${options.fence}: it has seen a higher one`);
    }
    await this.point('after-effect');
    return hasPaid;
  }

  private client(url: string): Redis {
    // Soon back after its server is.
    const client = new Redis(url, { retryStrategy: () => 50, maxRetriesPerRequest: 1 });
    // Told by the command that fails.
    client.on('error', () => undefined);
    this.onClose(() => client.disconnect());
    return client;
  }

  private async open(url: string): Promise<DataSource> {
    const dataSource = await connect(url);
    this.onClose(() => dataSource.destroy());
    return dataSource;
  }

  private address<K extends keyof Part['addresses']>(name: K): NonNullable<Part['addresses'][K]> {
    const address = this.part.addresses[name];
    if (address === undefined)
      throw new Error(`the scheme ${this.part.scheme} does not say that it needs ${name}`);
    return address;
  }
}
