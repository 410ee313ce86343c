import { connect, type Socket } from 'node:net';
import type { Clock } from '../engine/clock.js';
import { instant, type Instant } from '../engine/lease.js';
import { JuteReader, JuteWriter } from './jute.js';
import {
  Code,
  ConnectionLostError,
  type Request,
  watchEventFrom,
  type WatchEvent,
  ZooKeeperError,
} from './protocol.js';
import type { ServerAddress } from './servers.js';

/** Larger than anything a server sends (its `jute.maxbuffer` is 1 MiB by default): it is no ZooKeeper. */
const LARGEST_FRAME = 64 * 1024 * 1024;
const WATCH_EVENT_XID = -1;
const LAST_XID = 2 ** 31 - 1;

/** Who asks for which session; id 0 for a new one. */
export interface SessionTicket {
  readonly id: bigint;
  readonly password: Buffer;
  readonly timeoutMs: number;
  /** The latest change that was seen: a server that lags behind it refuses us. */
  readonly lastZxid: bigint;
}

export interface Answer<T> {
  readonly value: T;
  /** The change the request made, or the latest the server knew. */
  readonly zxid: bigint;
}

export interface ConnectionListener {
  /** The leader answered a request that was sent then, so the session was alive. */
  proven(sentAt: Instant): void;
  told(event: WatchEvent): void;
  /** Once, after all requests under way were rejected. */
  closed(reason: ConnectionLostError): void;
}

interface Pending {
  readonly xid: number;
  readonly request: Request<unknown>;
  readonly sentAt: Instant;
  readonly resolve: (answer: Answer<never>) => void;
  readonly reject: (error: Error) => void;
}

/**
 * One TCP connection to one server, for one session. Requests are pipelined: the server executes and answers
 * them in the order they were sent. It keeps the process alive only while somebody waits for an answer.
 */
export class Connection {
  private readonly socket: Socket;
  private readonly pending: Pending[] = [];
  private received: Buffer[] = [];
  private receivedBytes = 0;
  private neededBytes = 4;
  private lastXid = 0;
  private greet: ((reader: JuteReader) => void) | undefined;
  private over: ConnectionLostError | undefined;
  /** As the server granted it. Id 0: the session that was asked for is over. */
  ticket: SessionTicket;

  private constructor(
    readonly server: ServerAddress,
    ticket: SessionTicket,
    private readonly listener: ConnectionListener,
    private readonly clock: Clock,
  ) {
    this.ticket = ticket;
    this.socket = connect({ ...server, noDelay: true });
    this.socket.unref();
    this.socket.on('data', (chunk: Buffer) => this.receive(chunk));
    this.socket.on('error', (error) => this.destroy(error.message || error.name));
    this.socket.on('close', () => this.destroy('closed by the server'));
  }

  /**
   * Connects and asks for the session.
   *
   * @throws ConnectionLostError when that fails or takes longer than `limitMs` milliseconds.
   */
  static open(
    server: ServerAddress,
    ticket: SessionTicket,
    limitMs: number,
    listener: ConnectionListener,
    clock: Clock,
  ): Promise<Connection> {
    return new Promise((resolve, reject) => {
      let isOpen = false;
      const connection = new Connection(
        server,
        ticket,
        {
          ...listener,
          closed: (reason) => {
            clearTimeout(timer);
            if (isOpen) listener.closed(reason);
            else reject(reason);
          },
        },
        clock,
      );
      const timer = setTimeout(() => connection.destroy(`no answer within ${limitMs} ms`), limitMs).unref();
      const sentAt = instant(clock);
      connection.greet = (reader) => {
        connection.accept(reader);
        clearTimeout(timer);
        isOpen = true;
        if (connection.ticket.id !== 0n) listener.proven(sentAt);
        resolve(connection);
      };
      const { timeoutMs, lastZxid, id, password } = ticket;
      const greeting = new JuteWriter().int(0).long(lastZxid).int(timeoutMs).long(id).buffer(password);
      connection.socket.write(greeting.boolean(false).frame());
    });
  }

  /** When the request that waits longest was sent. */
  get waitingSince(): Instant | undefined {
    return this.pending[0]?.sentAt;
  }

  get isOver(): boolean {
    return this.over !== undefined;
  }

  /**
   * @throws ZooKeeperError when the server refuses it.
   * @throws ConnectionLostError when the connection ends before the answer.
   */
  request<T>(request: Request<T>): Promise<Answer<T>> {
    if (this.over) return Promise.reject(this.over);
    return new Promise<Answer<T>>((resolve, reject) => {
      const xid = this.lastXid === LAST_XID ? (this.lastXid = 1) : ++this.lastXid;
      const sentAt = instant(this.clock);
      if (this.pending.push({ xid, request, sentAt, resolve, reject }) === 1) this.socket.ref();
      // What is asked for at once goes in one packet.
      if (this.socket.writableCorked === 0) {
        this.socket.cork();
        process.nextTick(() => this.socket.uncork());
      }
      this.socket.write(new JuteWriter().int(xid).int(request.op).raw(request.body.bytes()).frame());
    });
  }

  destroy(reason: string): void {
    if (this.over) return;
    const { host, port } = this.server;
    this.over = new ConnectionLostError(`ZooKeeper ${host}:${port}: ${reason}`);
    this.socket.destroy();
    for (const { reject } of this.pending.splice(0)) reject(this.over);
    this.listener.closed(this.over);
  }

  private receive(chunk: Buffer): void {
    this.received.push(chunk);
    this.receivedBytes += chunk.length;
    if (this.receivedBytes < this.neededBytes) return;
    let bytes = this.received.length > 1 ? Buffer.concat(this.received) : chunk;
    this.neededBytes = 4;
    while (!this.over && bytes.length >= 4) {
      const length = bytes.readInt32BE(0);
      if (length < 0 || length > LARGEST_FRAME) return this.destroy(`a frame of ${length} bytes`);
      this.neededBytes = 4 + length;
      if (bytes.length < this.neededBytes) break;
      this.understand(bytes.subarray(4, this.neededBytes));
      bytes = bytes.subarray(this.neededBytes);
      this.neededBytes = 4;
    }
    this.received = [bytes];
    this.receivedBytes = bytes.length;
  }

  private understand(frame: Buffer): void {
    try {
      const reader = new JuteReader(frame);
      if (!this.greet) return this.settle(reader);
      const { greet } = this;
      this.greet = undefined;
      greet(reader);
    } catch (error) {
      this.destroy(`an answer that cannot be read (${(error as Error).message})`);
    }
  }

  private accept(reader: JuteReader): void {
    reader.int(); // version of the protocol
    const timeoutMs = reader.int();
    const id = reader.long();
    const password = Buffer.from(reader.buffer());
    // Negative or zero: the session that was asked for is over.
    this.ticket = { ...this.ticket, id: timeoutMs > 0 ? id : 0n, password, timeoutMs };
  }

  private settle(reader: JuteReader): void {
    const [xid, zxid, code] = [reader.int(), reader.long(), reader.int()];
    if (zxid > this.ticket.lastZxid) this.ticket = { ...this.ticket, lastZxid: zxid };
    if (xid === WATCH_EVENT_XID) return this.listener.told(watchEventFrom(reader));
    const pending = this.pending.shift();
    if (pending?.xid !== xid) {
      pending?.reject(new ConnectionLostError('an answer out of order'));
      return this.destroy(`answer ${xid} out of order`);
    }
    if (this.pending.length === 0) this.socket.unref();
    this.answer(pending, code, zxid, reader);
  }

  private answer(
    { request, sentAt, resolve, reject }: Pending,
    code: number,
    zxid: bigint,
    reader: JuteReader,
  ): void {
    if (SESSION_TROUBLE.includes(code)) {
      const error = new ZooKeeperError(code, request.what);
      reject(new ConnectionLostError(error.message, { cause: error }));
      return this.destroy(error.message);
    }
    if (request.isByLeader && BY_LEADER.includes(code)) this.listener.proven(sentAt);
    if (code !== 0) return reject(new ZooKeeperError(code, request.what));
    try {
      resolve({ value: request.decode(reader) as never, zxid });
    } catch (error) {
      reject(new ConnectionLostError(`${request.what}: an answer that cannot be read`, { cause: error }));
      throw error;
    }
  }
}

/** ConnectionLoss, SessionExpired, SessionMoved: nothing can be said about the request; connecting again tells about the session. */
const SESSION_TROUBLE = [-4, -112, -118];
/** Answers that are given after a look at the session; others a follower may give by itself. */
const BY_LEADER: readonly number[] = [0, Code.noNode, Code.nodeExists, Code.notEmpty];
