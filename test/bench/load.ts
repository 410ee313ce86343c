/** The load, in a process of its own: raw keep-alive connections, each with one request under way. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { answering } from './child.js';

export interface Load {
  readonly url: string;
  readonly path: string;
  /** Keys are this and a number. */
  readonly keys: string;
  /** Keys are used again after so many; a fresh request never. */
  readonly cycle?: number;
  readonly connections: number;
  /** Whichever comes first. */
  readonly seconds?: number;
  readonly requests?: number;
}

export interface Measured {
  readonly requests: number;
  readonly seconds: number;
  /** How many answers there were of each status. */
  readonly statuses: Record<string, number>;
  /** How many said that they were replays. */
  readonly replayed: number;
}

const BODY = JSON.stringify({ amount: 4200, currency: 'EUR' });

answering({ run });

async function run({
  url,
  path,
  keys,
  cycle = Infinity,
  connections,
  seconds,
  requests = Infinity,
}: Load): Promise<Measured> {
  const { hostname, port } = new URL(url);
  const before =
    `POST ${path} HTTP/1.1\r\nHost: ${hostname}\r\nContent-Type: application/json\r\n` +
    `Content-Length: ${BODY.length}\r\nIdempotency-Key: ${keys}`;
  const statuses: Record<string, number> = {};
  let sent = 0;
  let answered = 0;
  let replayed = 0;
  const sockets = await Promise.all(
    Array.from({ length: connections }, async () => {
      const socket = connect({ port: Number(port), host: hostname, noDelay: true });
      await once(socket, 'connect');
      return socket;
    }),
  );
  const start = performance.now();
  const end = start + (seconds ?? Infinity) * 1_000;
  let last = start;
  const drive = async (socket: Socket) => {
    let rest = '';
    socket.setEncoding('latin1');
    const ask = () => {
      if (sent >= requests || performance.now() >= end) return false;
      socket.write(`${before}${sent++ % cycle}\r\n\r\n${BODY}`);
      return true;
    };
    await new Promise<void>((resolve, reject) => {
      socket.on('error', reject);
      socket.on('close', () => reject(new Error('The app closed a connection')));
      socket.on('data', (chunk: string) => {
        rest += chunk;
        const head = rest.indexOf('\r\n\r\n');
        if (head < 0 || rest.length < head + 4 + lengthIn(rest)) return;
        const status = rest.slice(9, 12);
        statuses[status] = (statuses[status] ?? 0) + 1;
        if (rest.includes('Idempotent-Replayed')) replayed++;
        rest = '';
        last = performance.now();
        if (last <= end) answered++;
        if (!ask()) resolve();
      });
      if (!ask()) resolve();
    });
    socket.removeAllListeners('close').destroy();
  };
  await Promise.all(sockets.map(drive));
  return { requests: answered, seconds: (Math.min(last, end) - start) / 1_000, statuses, replayed };
}

function lengthIn(response: string): number {
  const at = response.indexOf('Content-Length: ');
  return at < 0 ? 0 : parseInt(response.slice(at + 16, at + 26), 10);
}
