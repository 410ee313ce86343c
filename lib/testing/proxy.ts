import { once } from 'node:events';
import { type AddressInfo, type Socket, connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** Which requests a cut is for: those whose bytes hold this text or satisfy the predicate. Default: any. */
export type Matching = string | ((chunk: Buffer) => boolean);

export type ProxyMode =
  | { readonly kind: 'pass' }
  /** Every chunk arrives `ms` later, in both directions. */
  | { readonly kind: 'delay'; readonly ms: number }
  /** A black hole: connects succeed, nothing gets through and nothing is closed. What was sent waits, as TCP has it. */
  | { readonly kind: 'drop' }
  /** The server gets the request and does the work; its reply is swallowed and the client's socket destroyed. */
  | { readonly kind: 'cut-reply'; readonly matching: (chunk: Buffer) => boolean; readonly once: boolean }
  /** The client's socket is destroyed and the server never gets the request. */
  | { readonly kind: 'cut-request'; readonly matching: (chunk: Buffer) => boolean; readonly once: boolean }
  /** The client's socket is destroyed; the server gets the request when it is delivered. */
  | { readonly kind: 'hold-request'; readonly matching: (chunk: Buffer) => boolean; readonly once: boolean };

export interface CutOptions {
  matching?: Matching;
  /** Only the first matching request is cut, whatever its connection; then the proxy passes again. @default true */
  once?: boolean;
}

interface Link {
  readonly client: Socket;
  readonly server: Socket;
}

/** A TCP proxy before a real server that breaks the network on demand. It knows no protocol. */
export class FaultProxy implements AsyncDisposable {
  #server = createServer({ allowHalfOpen: true });
  #links = new Set<Link>();
  #mode: ProxyMode = { kind: 'pass' };
  #cuts = 0;
  #waiting: (() => void)[] = [];
  #held: (() => void)[] = [];

  /** @param targetPort of the server behind. */
  constructor(
    private targetPort: number,
    private readonly targetHost = '127.0.0.1',
  ) {
    this.#server.on('connection', (client) => this.#join(client));
  }

  /** On a free port of 127.0.0.1. */
  async listen(): Promise<this> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return this;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get mode(): ProxyMode {
    return this.#mode;
  }

  /** How many requests or replies have been cut. */
  get cuts(): number {
    return this.#cuts;
  }

  get connections(): number {
    return this.#links.size;
  }

  /** The URL of the server behind, leading through this proxy. */
  url(targetUrl: string): string {
    const url = new URL(targetUrl);
    url.host = `127.0.0.1:${this.port}`;
    return url.href;
  }

  /** Everything gets through again. */
  pass(): void {
    this.#change({ kind: 'pass' });
  }

  /** Every chunk arrives `ms` later, in both directions. */
  delay(ms: number): void {
    this.#change({ kind: 'delay', ms });
  }

  /** A black hole: nothing gets through, nothing is closed. */
  drop(): void {
    this.#change({ kind: 'drop' });
  }

  /** The server does what it is asked; its reply is swallowed and the connection reset. */
  cutReply({ matching, once = true }: CutOptions = {}): void {
    this.#change({ kind: 'cut-reply', matching: predicateOf(matching), once });
  }

  /** The connection is reset and the server never gets the request. */
  cutRequest({ matching, once = true }: CutOptions = {}): void {
    this.#change({ kind: 'cut-request', matching: predicateOf(matching), once });
  }

  /** The connection is reset, and the request is still on its way: the server gets it at `deliver`. */
  holdRequest({ matching, once = true }: CutOptions = {}): void {
    this.#change({ kind: 'hold-request', matching: predicateOf(matching), once });
  }

  /** What was held arrives now. */
  deliver(): void {
    for (const send of this.#held.splice(0)) send();
  }

  /** Resolves at the next cut. */
  nextCut(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** New connections lead to another server: an address that moves, as after a fail-over. */
  redirect(targetPort: number): void {
    this.targetPort = targetPort;
  }

  /** Resets all connections; what was on its way is lost. */
  closeConnections(): void {
    for (const { client, server } of this.#links) {
      client.resetAndDestroy();
      server.resetAndDestroy();
    }
    this.#held = [];
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.closeConnections();
    await closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #change(mode: ProxyMode): void {
    this.#mode = mode;
    for (const { client, server } of this.#links) {
      for (const socket of [client, server]) {
        if (mode.kind === 'drop') socket.pause();
        else socket.resume();
      }
    }
  }

  #join(client: Socket): void {
    const server = connect({ port: this.targetPort, host: this.targetHost, allowHalfOpen: true });
    const link = { client, server };
    this.#links.add(link);
    client.setNoDelay(true);
    server.setNoDelay(true);
    let cutNextReply = false;
    let isHeld = false;
    const toServer = new Direction(server);
    const toClient = new Direction(client);

    client.on('data', (chunk) => {
      const mode = this.#mode;
      if ('matching' in mode && mode.matching(chunk)) {
        if (mode.once) this.#mode = { kind: 'pass' };
        if (mode.kind === 'hold-request') {
          isHeld = true;
          this.#held.push(() => server.end(chunk));
          client.resetAndDestroy();
          this.#countCut();
          return;
        }
        if (mode.kind === 'cut-request') {
          client.resetAndDestroy();
          server.destroy();
          this.#countCut();
          return;
        }
        cutNextReply = true;
      }
      toServer.send(chunk, this.#delayMs);
    });
    server.on('data', (chunk) => {
      // What still comes after a cut is read and thrown away, so that the server finishes its work.
      if (client.destroyed) return;
      if (!cutNextReply) return toClient.send(chunk, this.#delayMs);
      client.resetAndDestroy();
      this.#countCut();
    });
    client.on('end', () => toServer.send(null, this.#delayMs));
    server.on('end', () => toClient.send(null, this.#delayMs));
    for (const socket of [client, server]) {
      // A reset on one side is a reset on the other; the close that follows passes it on.
      socket.on('error', () => undefined);
    }
    client.on('close', () => {
      if (isHeld) return;
      if (cutNextReply) server.end();
      else server.destroy();
    });
    server.on('close', () => {
      client.destroy();
      this.#links.delete(link);
    });
    if (this.#mode.kind === 'drop') {
      client.pause();
      server.pause();
    }
  }

  get #delayMs(): number {
    return this.#mode.kind === 'delay' ? this.#mode.ms : 0;
  }

  #countCut(): void {
    this.#cuts += 1;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/**
 * Starts a proxy before a server. Close it, or `await using proxy = await startProxy(6379)`.
 *
 * @param targetPort of the server behind.
 */
export function startProxy(targetPort: number, targetHost?: string): Promise<FaultProxy> {
  return new FaultProxy(targetPort, targetHost).listen();
}

/** Writes chunks in the order they came, each after its delay; null is the end. */
class Direction {
  #last: Promise<void> = Promise.resolve();
  #waiting = 0;

  constructor(private readonly target: Socket) {}

  send(chunk: Buffer | null, delayMs: number): void {
    if (delayMs === 0 && this.#waiting === 0) return this.#write(chunk);
    this.#waiting += 1;
    const due = sleep(delayMs, undefined, { ref: false });
    this.#last = this.#last
      .then(() => due)
      .then(() => {
        this.#waiting -= 1;
        this.#write(chunk);
      });
  }

  #write(chunk: Buffer | null): void {
    if (!this.target.writable) return;
    if (chunk) this.target.write(chunk);
    else this.target.end();
  }
}

function predicateOf(matching: Matching = () => true): (chunk: Buffer) => boolean {
  return typeof matching === 'string' ? (chunk) => chunk.includes(matching) : matching;
}
