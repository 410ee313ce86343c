import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PostgresDatabase } from './postgres.database.js';
import { answered } from './sql-database.js';

/** What is used of a client of `pg` that is nobody's but ours. */
interface Client {
  connect(): Promise<unknown>;
  query(text: string): Promise<unknown>;
  end(): Promise<unknown>;
  unref(): void;
  on(event: 'error' | 'end', listener: () => void): unknown;
  on(event: 'notification', listener: (message: { payload?: string }) => void): unknown;
}

/** What is used of the pool beyond its connections. */
interface Pool {
  readonly Client: new (options: object) => Client;
  readonly options: object;
  readonly ending: boolean;
}

/** What is used of the driver: these it releases before it closes its pool, and waits for each. */
interface Driver {
  readonly connectedQueryRunners?: { release(): Promise<void> }[];
}

/** How long an answer may take, in milliseconds. */
const ANSWER_MS = 5_000;
/** How often it is looked after, in milliseconds. */
const LOOK_MS = 1_000;
/** Every so many looks the server is asked whether it is still there: a cut cable says nothing. */
const LOOKS_UNTIL_QUESTION = 15;

/**
 * One connection beside the pool that listens to one channel, until it breaks or the DataSource is destroyed.
 * It never keeps the process alive, and has no errors but that of `ready`.
 */
export class PostgresSubscription {
  /** Resolves when messages arrive, rejects when they do not. */
  readonly ready: Promise<void>;
  readonly #pool: Pool;
  readonly #client: Client;
  readonly #greeting = `hello ${randomUUID()}`;
  readonly #looks: NodeJS.Timeout;
  readonly #asRunner = { release: () => this.#close(true) };
  #greeted = (): void => undefined;
  #isOpen = true;
  #look = 0;

  /**
   * @param channel a plain identifier.
   * @param ended is called once, with whether the DataSource was destroyed.
   */
  constructor(
    private readonly database: PostgresDatabase,
    private readonly channel: string,
    private readonly told: (payload: string) => void,
    private readonly ended: (isDestroyed: boolean) => void,
  ) {
    this.#pool = database.pool as unknown as Pool;
    this.#client = new this.#pool.Client(this.#pool.options);
    this.#client.on('notification', ({ payload = '' }) => this.#message(payload));
    this.#client.on('error', () => void this.#close(false));
    this.#client.on('end', () => void this.#close(false));
    this.#looks = setInterval(() => this.#lookAfter(), LOOK_MS).unref();
    this.#runners?.push(this.#asRunner);
    this.ready = this.#open();
    this.ready.catch(() => this.#close(false));
  }

  async #open(): Promise<void> {
    await answered(this.#client.connect(), ANSWER_MS);
    this.#client.unref();
    await answered(this.#client.query(`LISTEN ${this.channel}`), ANSWER_MS);
    // A pooler in between may take LISTEN and pass no message on. Only a message from elsewhere tells.
    const greeted = new Promise<void>((resolve) => (this.#greeted = resolve));
    const text = 'SELECT pg_notify($1, $2)';
    await answered(this.database.pool.query(text, [this.channel, this.#greeting]), ANSWER_MS);
    await answered(greeted, ANSWER_MS);
  }

  #message(payload: string): void {
    if (payload === this.#greeting) this.#greeted();
    else this.told(payload);
  }

  #lookAfter(): void {
    if (this.#pool.ending) return void this.#close(true);
    if (++this.#look % LOOKS_UNTIL_QUESTION) return;
    answered(this.#client.query('SELECT 1'), ANSWER_MS).catch(() => this.#close(false));
  }

  async #close(isDestroyed: boolean): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    clearInterval(this.#looks);
    const runners = this.#runners ?? [];
    if (runners.includes(this.#asRunner)) runners.splice(runners.indexOf(this.#asRunner), 1);
    this.ended(isDestroyed || this.#pool.ending);
    // It may wait for a server that is not there any more.
    await Promise.race([
      this.#client.end().catch(() => undefined),
      sleep(ANSWER_MS, undefined, { ref: false }),
    ]);
  }

  get #runners(): Driver['connectedQueryRunners'] {
    return (this.database.dataSource.driver as unknown as Driver).connectedQueryRunners;
  }
}
