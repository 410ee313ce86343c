import type { RedisClient, ScriptArgument } from './redis-client.js';
import type { Script } from './script.js';
import { slotOf } from './keys.js';
import { WakeUps } from './wake-ups.js';

/** How long a command waits for a client that is still connecting for the first time, in milliseconds. */
const START_GRACE_MS = 1_000;
/** Releases kept for a connection that is down, at most. */
const MOST_KEPT = 10_000;

/** The client is not connected. Nothing was sent. */
export class RedisNotReadyError extends Error {
  override readonly name = 'RedisNotReadyError';

  constructor(status: string) {
    super(`The Redis client is not ready (status "${status}"); the command was not sent`);
  }
}

/** The caller gave the lock or the claim back before the server could be asked for it. */
export class GivenBackError extends Error {
  override readonly name = 'GivenBackError';

  constructor() {
    super('Given back before Redis was asked for it');
  }
}

const connections = new WeakMap<RedisClient, RedisConnection>();

/** What lock and store of one client share: one set of listeners, one connection for wake-ups. */
export function connectionOf(client: RedisClient): RedisConnection {
  let connection = connections.get(client);
  if (!connection) connections.set(client, (connection = new RedisConnection(client)));
  return connection;
}

/**
 * Runs scripts on the user's client and never lets ioredis queue a command while it is disconnected: such a
 * command runs when the connection is back, long after its caller gave up, and leaves a key behind that
 * nobody holds. Commands that were under way when the connection broke are re-sent by ioredis; the scripts
 * recognise their own token.
 */
export class RedisConnection {
  readonly wakeUps: WakeUps;
  private hasFailed = false;
  private isBunching = false;
  private starting: Promise<void> | undefined;
  private settleStart: (() => void) | undefined;
  /** Takes that have not been answered. */
  private readonly underWay = new Map<string, number>();
  /** Takes that were never sent and need no giving back. */
  private readonly unsent = new Set<string>();
  /** Takes that were sent and have lost their answer: whatever comes of the next try, they may be held. */
  private readonly unanswered = new Set<string>();
  private readonly kept = new Map<string, () => Promise<unknown>>();

  constructor(private readonly client: RedisClient) {
    this.wakeUps = new WakeUps(client);
    client.on('ready', () => this.connected());
    client.on('close', () => this.failed());
    client.on('end', () => {
      this.failed();
      this.kept.clear();
    });
  }

  /**
   * Runs a script in one round trip, or two when the server has not seen it yet.
   *
   * @throws RedisNotReadyError when there is no connection.
   * @throws the client's error when the server refused or the connection broke.
   */
  run(script: Script, keys: readonly string[], args: readonly ScriptArgument[]): Promise<unknown> {
    return this.runIf(always, script, keys, args);
  }

  /** Runs a script that makes `token` the owner of `keys[0]`, unless it has been given back meanwhile. */
  async take(
    token: string,
    script: Script,
    keys: readonly string[],
    args: readonly ScriptArgument[],
  ): Promise<unknown> {
    const id = `${token} ${keys[0]}`;
    this.underWay.set(id, (this.underWay.get(id) ?? 0) + 1);
    try {
      const reply = await this.runIf(() => this.underWay.has(id), script, keys, args);
      this.unanswered.delete(id);
      return reply;
    } catch (error) {
      const isUnsent = error instanceof RedisNotReadyError;
      const isGivenBack = !this.underWay.has(id);
      if (!isUnsent && !isGivenBack && !isAnswer(error)) this.unanswered.add(id);
      if (isUnsent && this.underWay.get(id) === 1 && !this.unanswered.has(id)) this.unsent.add(id);
      throw error;
    } finally {
      const others = (this.underWay.get(id) ?? 0) - 1;
      if (others > 0) this.underWay.set(id, others);
      else this.underWay.delete(id);
    }
  }

  /**
   * Runs a script that gives up what `token` owns of `keys[0]`. On a live connection it comes after everything
   * sent before. When it cannot be sent now it rejects at once, and is sent when the connection is back,
   * behind what ioredis re-sends then: otherwise a take that was under way would leave its key locked.
   */
  async giveBack(
    token: string,
    script: Script,
    keys: readonly string[],
    args: readonly ScriptArgument[],
  ): Promise<unknown> {
    const id = `${token} ${keys[0]}`;
    this.underWay.delete(id);
    this.unanswered.delete(id);
    const wasUnsent = this.unsent.delete(id);
    try {
      return await this.run(script, keys, args);
    } catch (error) {
      const { status } = this.client;
      const mayYetBeHeld = !wasUnsent && !isAnswer(error) && status !== 'ready' && status !== 'end';
      if (mayYetBeHeld && this.kept.size < MOST_KEPT) this.kept.set(id, () => this.run(script, keys, args));
      throw error;
    }
  }

  /**
   * Runs a script over many keys, `tokens` beside them. One command; in a Cluster one for each slot, at once.
   *
   * @returns one answer a key, in order; null where its slot could not be asked.
   */
  async runForAll(
    script: Script,
    held: readonly { readonly key: string; readonly token: string }[],
    firstArg: ScriptArgument,
  ): Promise<(boolean | null)[]> {
    const groups = new Map<string, number[]>();
    held.forEach(({ key }, index) => {
      const group = this.client.isCluster ? slotOf(key) : '';
      const indexes = groups.get(group);
      if (indexes) indexes.push(index);
      else groups.set(group, [index]);
    });
    const answers = new Array<boolean | null>(held.length).fill(null);
    const runGroup = async (indexes: number[]) => {
      const keys = indexes.map((index) => held[index]!.key);
      const tokens = indexes.map((index) => held[index]!.token);
      const reply = (await this.run(script, keys, [firstArg, ...tokens])) as unknown[];
      indexes.forEach((index, at) => (answers[index] = Number(reply[at]) === 1));
    };
    const runs = await Promise.allSettled([...groups.values()].map(runGroup));
    const failures = runs.filter((run) => run.status === 'rejected');
    if (failures.length > 0 && failures.length === runs.length) throw failures[0]!.reason;
    return answers;
  }

  /** Calls `wake` at every message for `key`, until the returned function is called. */
  async watch(key: string, wake: () => void): Promise<() => void> {
    await this.ready();
    return this.wakeUps.watch(`${this.client.options.keyPrefix ?? ''}${key}`, wake);
  }

  private async runIf(
    wanted: () => boolean,
    script: Script,
    keys: readonly string[],
    args: readonly ScriptArgument[],
  ): Promise<unknown> {
    if (this.client.status !== 'ready') await this.ready();
    if (!wanted()) throw new GivenBackError();
    try {
      return await this.send('evalsha', script.sha1, keys, args);
    } catch (error) {
      if (!isNoScript(error)) throw error;
    }
    // EVAL runs the script and makes it known in one command. SCRIPT LOAD and another EVALSHA would be one
    // round trip more, and a SCRIPT FLUSH could come between them.
    if (!wanted()) throw new GivenBackError();
    if (this.client.status !== 'ready') throw new RedisNotReadyError(this.client.status);
    return this.send('eval', script.lua, keys, args);
  }

  /** Replies come as bytes. Not `callBuffer`: with `enableAutoPipelining` ioredis loses its first argument. */
  private send(
    command: 'evalsha' | 'eval',
    script: string,
    keys: readonly string[],
    args: readonly ScriptArgument[],
  ): Promise<unknown> {
    this.bunch();
    // In every version, but in the types of none.
    const client = this.client as unknown as Record<'evalshaBuffer' | 'evalBuffer', RedisClient['eval']>;
    return client[`${command}Buffer`](script, keys.length, ...keys, ...args);
  }

  /** What is sent in one turn of the event loop leaves in one write: most of what a command costs is the write. */
  private bunch(): void {
    const { stream } = this.client;
    if (this.isBunching || !stream) return;
    this.isBunching = true;
    stream.cork();
    setImmediate(() => {
      this.isBunching = false;
      stream.uncork();
    });
  }

  /**
   * Resolves once the client is connected for the first time, undefined when it is.
   *
   * @throws RedisNotReadyError when there is no connection.
   */
  ready(): Promise<void> | undefined {
    const { status } = this.client;
    if (status === 'ready') return undefined;
    const isStarting =
      status === 'wait' || (!this.hasFailed && (status === 'connecting' || status === 'connect'));
    if (!isStarting) return Promise.reject(new RedisNotReadyError(status));
    this.starting ??= this.start().finally(() => (this.starting = undefined));
    return this.starting;
  }

  private start(): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer);
        const { status } = this.client;
        if (status === 'ready') resolve();
        else reject(new RedisNotReadyError(status));
      };
      const timer = setTimeout(settle, START_GRACE_MS);
      this.settleStart = settle;
      // Its failure shows in the events.
      if (this.client.status === 'wait') this.client.connect().catch(() => undefined);
    });
  }

  private failed(): void {
    this.hasFailed = true;
    this.settleStart?.();
  }

  private connected(): void {
    this.hasFailed = false;
    this.settleStart?.();
    this.unsent.clear();
    const releases = [...this.kept.values()];
    this.kept.clear();
    for (const release of releases) release().catch(() => undefined);
  }
}

function always(): boolean {
  return true;
}

/** The server's own words, as against a broken connection. */
function isAnswer(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}

function isNoScript(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('NOSCRIPT');
}
