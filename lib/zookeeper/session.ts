import { pause } from '../engine/backend.js';
import { systemClock, type Clock } from '../engine/clock.js';
import type { Instant } from '../engine/lease.js';
import { Connection, type SessionTicket } from './connection.js';
import { closeSession, ConnectionLostError, sync, type WatchEvent } from './protocol.js';
import type { ServerAddress } from './servers.js';

/** Shares of the session's time-out. */
const BELIEF = 2 / 3;
const HEARTBEAT = 1 / 10;
const READ_LIMIT = 1 / 3;
const CONNECT_LIMIT = 1 / 20;
const TICK = 1 / 20;
/**
 * The least time a server is given to accept a connection, and to grant a session, in milliseconds. Doubled, so
 * often at most, when all servers were tried in vain.
 */
const LEAST_CONNECT_MS = 250;
const CONNECT_DOUBLINGS = 3;
/** Pause after all servers were tried in vain, in milliseconds. */
const PAUSE_FROM_MS = 20;
const PAUSE_TO_MS = 1_000;

const NEVER: Instant = { mono: -Infinity, wall: -Infinity };

/** Somebody who may lose interest in a connection: then `isCalledOff` is set and `stopWaiting` called. */
export interface Waiter {
  isCalledOff: boolean;
  stopWaiting?: () => void;
}

export interface SessionListener {
  /**
   * The session can no longer be believed in. `isOver`: the server says so, its ephemeral nodes are gone.
   * Otherwise they will be, unless the session is resumed before the server's time-out.
   */
  lost(isOver: boolean): void;
  /** Connected again. `isSame`: with the same session; watches are gone in any case. */
  resumed(isSame: boolean): void;
  told(event: WatchEvent): void;
}

/**
 * A session with an ensemble, over one connection at a time. It moves to another server when its own does not
 * answer, and is replaced by a new one when the servers say that it is over.
 *
 * Belief in it is local: it ends at two thirds of the negotiated time-out after the last request was *sent*
 * that the leader has answered, by the monotonic or the wall clock, whether or not any server is heard from
 * again. The leader ends a session a whole time-out after it heard of it last. Heartbeats are `sync`, not `ping`: a follower that has lost its leader
 * still answers pings, while the leader gives the session's locks away.
 */
export class Session {
  private connection: Connection | undefined;
  private ticket: SessionTicket;
  private provenAt = NEVER;
  private isBelieved = false;
  private isConnecting = false;
  private isClosed = false;
  private failure = new ConnectionLostError('ZooKeeper: not connected yet');
  private heartbeat: Promise<void> | undefined;
  private beatAt = 0;
  private tickedAt = 0;
  private timer: NodeJS.Timeout | undefined;
  private turn: number;
  private readonly waiters = new Set<() => void>();

  constructor(
    private readonly servers: readonly ServerAddress[],
    private readonly wishedTimeoutMs: number,
    private readonly listener: SessionListener,
    private readonly clock: Clock = systemClock,
  ) {
    this.ticket = this.freshTicket(0n);
    // Many processes with one list should not all go to its first server.
    this.turn = Math.floor(Math.random() * servers.length);
  }

  /** As negotiated; as wished while there is no session. Milliseconds. */
  get timeoutMs(): number {
    return this.ticket.timeoutMs;
  }

  /** Milliseconds for which the session may be believed in, by whichever clock is further on; negative once past. */
  beliefMs(): number {
    const { mono, wall } = this.provenAt;
    const life = this.ticket.timeoutMs * BELIEF;
    return Math.min(mono + life - this.clock.mono(), wall + life - this.clock.wall());
  }

  /** The present connection, if there is one. */
  get link(): Connection | undefined {
    return this.connection;
  }

  /**
   * The connection, waited for at most `ms` milliseconds.
   *
   * @throws ConnectionLostError when there is none by then. Its cause tells the last failure.
   */
  async connected(ms: number, waiter: Waiter = { isCalledOff: false }): Promise<Connection> {
    const until = this.clock.mono() + ms;
    while (!this.connection) {
      if (this.isClosed) throw new ConnectionLostError('ZooKeeper: the lock driver was closed');
      this.connect();
      const left = until - this.clock.mono();
      if (left <= 0) throw new ConnectionLostError(`no connection within ${ms} ms`, { cause: this.failure });
      if (waiter.isCalledOff) throw new ConnectionLostError('called off before there was a connection');
      await this.nextConnection(left, waiter);
    }
    return this.connection;
  }

  /** Ends the session, and with it its ephemeral nodes, if that can be told to a server within `ms` milliseconds. */
  async close(ms: number): Promise<void> {
    this.isClosed = true;
    clearInterval(this.timer);
    const { connection } = this;
    if (connection) {
      const limit = setTimeout(() => connection.destroy('closed'), ms);
      await connection.request(closeSession()).catch(() => undefined);
      clearTimeout(limit);
      connection.destroy('closed');
    }
    this.disbelieve(true);
    this.tellWaiters();
  }

  private nextConnection(ms: number, waiter: Waiter): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.waiters.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.waiters.add(done);
      waiter.stopWaiting = done;
    });
  }

  private tellWaiters(): void {
    for (const tell of this.waiters) tell();
  }

  private connect(): void {
    if (this.isConnecting || this.isClosed) return;
    this.isConnecting = true;
    void this.tryServers().finally(() => (this.isConnecting = false));
  }

  /** Server after server until one answers. Never rejects. */
  private async tryServers(): Promise<void> {
    let pauseMs = PAUSE_FROM_MS;
    for (let tried = 1; !this.isClosed; tried++) {
      const server = this.servers[this.turn++ % this.servers.length]!;
      const rounds = Math.min(Math.floor((tried - 1) / this.servers.length), CONNECT_DOUBLINGS);
      const connection = await this.tryServer(server, 2 ** rounds);
      if (connection && this.attach(connection)) return;
      if (connection?.ticket.id === 0n) continue;
      if (tried % this.servers.length !== 0) continue;
      await pause(pauseMs * (0.5 + Math.random()));
      pauseMs = Math.min(pauseMs * 2, PAUSE_TO_MS);
    }
  }

  private async tryServer(server: ServerAddress, patience: number): Promise<Connection | undefined> {
    const limitMs = Math.max(this.ticket.timeoutMs * CONNECT_LIMIT, LEAST_CONNECT_MS) * patience;
    const listener = {
      proven: (sentAt: Instant) => this.proven(sentAt),
      told: (event: WatchEvent) => this.listener.told(event),
      closed: (reason: ConnectionLostError) => this.disconnected(reason),
    };
    try {
      return await Connection.open(server, this.ticket, limitMs, listener, this.clock);
    } catch (error) {
      this.failure = error as ConnectionLostError;
      return undefined;
    }
  }

  /** @returns false when it broke the moment it was made, or there is no such session any more. */
  private attach(connection: Connection): boolean {
    if (connection.ticket.id === 0n) {
      connection.destroy('the session is over');
      this.ticket = this.freshTicket(this.ticket.lastZxid);
      this.provenAt = NEVER;
      this.disbelieve(true);
      return false;
    }
    if (this.isClosed) connection.destroy('closed');
    if (connection.isOver) return false;
    const isSame = this.ticket.id !== 0n;
    this.connection = connection;
    this.ticket = connection.ticket;
    this.isBelieved = true;
    this.tickedAt = this.beatAt = this.clock.mono();
    clearInterval(this.timer);
    this.timer = setInterval(() => this.tick(), Math.max(1, this.ticket.timeoutMs * TICK)).unref();
    this.listener.resumed(isSame);
    this.tellWaiters();
    return true;
  }

  private disconnected(reason: ConnectionLostError): void {
    if (!this.connection) return;
    this.failure = reason;
    this.ticket = this.connection.ticket;
    this.connection = undefined;
    // A server that closes at once should not be asked again at once.
    setImmediate(() => this.connect());
  }

  private proven(sentAt: Instant): void {
    if (sentAt.mono > this.provenAt.mono) this.provenAt = sentAt;
  }

  private disbelieve(isOver: boolean): void {
    if (!this.isBelieved && !isOver) return;
    this.isBelieved = false;
    this.listener.lost(isOver);
  }

  private tick(): void {
    const { timeoutMs } = this.ticket;
    const now = this.clock.mono();
    const wasLate = now - this.tickedAt > 2 * timeoutMs * TICK + 50;
    this.tickedAt = now;
    if (this.beliefMs() <= 0) this.disbelieve(false);
    else this.isBelieved = true;
    const { connection } = this;
    if (!connection) return;
    const waitingMs = now - (connection.waitingSince?.mono ?? now);
    // After a pause of this process the answer may be here, not yet read.
    if (waitingMs > timeoutMs * READ_LIMIT && !wasLate) {
      return connection.destroy(`no answer within ${Math.round(waitingMs)} ms`);
    }
    if (!this.heartbeat && now - this.beatAt >= timeoutMs * HEARTBEAT - (timeoutMs * TICK) / 2) {
      this.beatAt = now;
      const settled = () => (this.heartbeat = undefined);
      this.heartbeat = connection.request(sync()).then(settled, settled);
    }
  }

  private freshTicket(lastZxid: bigint): SessionTicket {
    return { id: 0n, password: Buffer.alloc(16), timeoutMs: this.wishedTimeoutMs, lastZxid };
  }
}
