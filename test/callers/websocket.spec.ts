import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { Redis } from 'ioredis';
import { io } from 'socket.io-client';
import { WebSocket } from 'ws';
import { redisClient } from '../support/redis-client.js';
import { sharedRedisUrl } from '../support/shared-servers.js';
import type { RefundCommand } from './fixtures/refunds.js';
import { LEASE_MS, RefundServer, START_MS } from './refund-server.js';

const ADAPTERS = ['ws', 'socket.io'] as const;

/** What a client hears: an acknowledgement (with `ws`, a message without an event), or an event. */
interface Answer {
  readonly acknowledged?: any;
  readonly event?: string;
  readonly data?: any;
}

let redis: Redis;
/** Two processes with one store, one of each adapter. */
let servers: RefundServer[];

beforeAll(async () => {
  redis = redisClient(sharedRedisUrl());
  servers = await Promise.all(ADAPTERS.map((adapter) => RefundServer.start('websocket-server.ts', adapter)));
}, START_MS);
afterAll(() => Promise.all(servers.map((server) => server.process.stop())));

const command = (of: Partial<RefundCommand> = {}): RefundCommand => ({
  refundId: randomUUID(),
  amount: 500,
  ...of,
});
const paid = ({ refundId }: RefundCommand) => redis.llen(`paid:${refundId}`);
const code = ({ data }: Answer) => data?.code;

/** The first thing heard after a message is sent, over a connection of its own. */
function ask(server: RefundServer, event: string, data: unknown, customer = 'public'): Promise<Answer> {
  const url = `127.0.0.1:${server.port}/?customer=${customer}`;
  return server === servers[0] ? askWs(url, event, data) : askSocketIo(url, event, data);
}

async function askWs(url: string, event: string, data: unknown): Promise<Answer> {
  const socket = new WebSocket(`ws://${url}`);
  const closed = once(socket, 'close').then(() => Promise.reject(new Error('the connection closed')));
  closed.catch(() => undefined);
  await once(socket, 'open');
  const heard = once(socket, 'message');
  socket.send(JSON.stringify({ event, data }));
  const [message] = await Promise.race([heard, closed]);
  socket.terminate();
  const answer = JSON.parse(String(message));
  return typeof answer.event === 'string' ? answer : { acknowledged: answer };
}

async function askSocketIo(url: string, event: string, data: unknown): Promise<Answer> {
  const socket = io(`http://${url}`, {
    transports: ['websocket'],
    forceNew: true,
    reconnection: false,
  });
  try {
    return await new Promise<Answer>((heard, failed) => {
      socket.onAny((name: string, told: unknown) => heard({ event: name, data: told }));
      socket.on('disconnect', () => failed(new Error('the connection closed')));
      socket.emit(event, data, (acknowledged: unknown) => heard({ acknowledged }));
    });
  } finally {
    socket.disconnect();
  }
}

describe.each(ADAPTERS)('WebSocket with %s', (adapter) => {
  let server: RefundServer;
  let other: RefundServer;
  beforeAll(() => {
    server = servers[ADAPTERS.indexOf(adapter)]!;
    other = servers[1 - ADAPTERS.indexOf(adapter)]!;
  });

  it('G01 runs a burst of 20 duplicates over two processes once and gives them one answer', async () => {
    const refund = command();
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => ask(servers[i % 2]!, 'refund.once', refund)),
    );
    expect(answers[0]).toEqual({
      acknowledged: { ...refund, attempt: 1, at: expect.stringMatching(/^20\d\d-/) },
    });
    expect(answers).toEqual(answers.map(() => answers[0]));
    expect(await paid(refund)).toBe(1);
  });

  it('G05 replays the answer to a late duplicate, with the event it came with', async () => {
    const refund = command();
    const first = await ask(server, 'refund.told', refund);
    expect(first).toMatchObject({ event: 'refunded', data: { attempt: 1 } });
    await new Promise((resolve) => setTimeout(resolve, LEASE_MS * 1.5));
    expect(await ask(server, 'refund.told', refund)).toEqual(first);
    expect(await ask(other, 'refund.told', refund)).toEqual(first);
    expect(await paid(refund)).toBe(1);
  });

  it('G07 refuses another payload under the same key, with the problem and the message it is about', async () => {
    const refund = command();
    await ask(server, 'refund.once', refund);
    const changed = { ...refund, amount: 1 };
    expect(await ask(server, 'refund.once', changed)).toEqual({
      event: 'exception',
      data: {
        type: 'urn:nestjs-idempotent:key-reused',
        title: 'Idempotency-Key is already used',
        status: 422,
        code: 'key-reused',
        cause: { pattern: 'refund.once', data: changed },
      },
    });
    expect(await paid(refund)).toBe(1);
  });

  it('refuses a duplicate of a running call and tells when to ask again', async () => {
    const refund = command({ hold: true });
    const first = ask(server, 'refund', { ...refund, idempotencyKey: refund.refundId });
    await server.began(refund.refundId);
    expect(await ask(other, 'refund', { ...refund, idempotencyKey: refund.refundId })).toMatchObject({
      event: 'exception',
      data: { status: 409, code: 'in-progress', retryAfterMs: expect.any(Number) },
    });
    await server.go(refund.refundId);
    expect(await first).toMatchObject({ acknowledged: { attempt: 1 } });
    expect(await paid(refund)).toBe(1);
  });

  it('G20 a client that goes away changes nothing: its answer is there when it comes back', async () => {
    const refund = command({ hold: true });
    const message = { ...refund, idempotencyKey: refund.refundId };
    await left(server, 'refund', message);
    await server.go(refund.refundId);
    await server.ended(refund.refundId);
    const answer = await until(
      () => ask(other, 'refund', message),
      (heard) => code(heard) !== 'in-progress',
    );
    expect(answer).toMatchObject({ acknowledged: { attempt: 1 } });
    expect(await paid(refund)).toBe(1);
  });

  it('takes the key of the data of the message; without one it is refused, or runs if none is required', async () => {
    const refund = command();
    const keyed = { ...refund, idempotencyKey: refund.refundId };
    expect(await ask(server, 'refund', keyed)).toEqual(await ask(other, 'refund', keyed));
    expect((await ask(server, 'refund', refund)).data).toMatchObject({
      status: 400,
      code: 'key-missing',
      detail: expect.stringContaining('idempotencyKey in the data'),
    });
    expect(code(await ask(server, 'refund', { ...refund, idempotencyKey: 17 }))).toBe('key-invalid');
    expect((await ask(server, 'refund.once', { amount: 1 })).data).toMatchObject({
      code: 'key-missing',
      detail: expect.stringContaining('{payload.refundId}'),
    });
    expect(await paid(refund)).toBe(1);
    await ask(server, 'refund.optional', refund);
    await ask(server, 'refund.optional', refund);
    expect(await paid(refund)).toBe(3);
  });

  it('G40 two principals with one key are strangers, and somebody has to be known', async () => {
    const refund = command();
    const first = await ask(server, 'refund.once', refund, 'ann');
    expect(await ask(other, 'refund.once', refund, 'ann')).toEqual(first);
    expect(await paid(refund)).toBe(1);
    expect(await ask(server, 'refund.once', refund, 'bob')).toMatchObject({ acknowledged: { attempt: 1 } });
    expect(await paid(refund)).toBe(2);
    expect(code(await ask(server, 'refund.once', refund, 'nobody'))).toBe('principal-missing');
  });

  it('G30 a call that a pipe refuses does not use up its key', async () => {
    const refund = command();
    expect(await ask(server, 'refund.once', { ...refund, amount: -1 })).toMatchObject({
      event: 'exception',
      data: { message: 'invalid' },
    });
    expect(await ask(server, 'refund.once', refund)).toMatchObject({ acknowledged: { attempt: 1 } });
  });

  it('G31 an error that is none of the caller frees the key', async () => {
    const refund = command({ fails: 'error' });
    expect(await ask(server, 'refund.once', refund)).toMatchObject({
      event: 'exception',
      data: { message: 'Internal server error' },
    });
    expect(await ask(server, 'refund.once', refund)).toMatchObject({ acknowledged: { attempt: 2 } });
  });

  it.each(['http', 'own'] as const)('G31 replays a recorded error as it was thrown (%s)', async (fails) => {
    const refund = command({ fails });
    const told = fails === 'own' ? { code: 'CLOSED', since: 2020 } : { message: 'Internal server error' };
    const first = await ask(server, 'refund.lasting', refund);
    expect(first).toMatchObject({ event: 'exception', data: told });
    expect(await ask(server, 'refund.lasting', refund)).toEqual(first);
    expect(await ask(other, 'refund.lasting', refund)).toEqual(first);
    expect(await paid(refund)).toBe(1);
  });

  it('G24 a time-out does not free the key while the work goes on', async () => {
    const refund = command({ hold: true });
    expect(await ask(server, 'refund.quickly', refund)).toMatchObject({ data: { message: 'too late' } });
    expect(code(await ask(other, 'refund.quickly', refund))).toBe('in-progress');
    await server.go(refund.refundId);
    await server.ended(refund.refundId);
    const answer = await until(
      () => ask(other, 'refund.quickly', refund),
      (heard) => code(heard) !== 'in-progress',
    );
    expect(answer).toMatchObject({ acknowledged: { attempt: 1 } });
    expect(await paid(refund)).toBe(1);
  });

  it('tells that a lock is taken, and what has no name to lock', async () => {
    const account = randomUUID();
    const first = ask(server, 'close', { account });
    await server.began(account);
    expect(await ask(other, 'close', { account })).toMatchObject({
      event: 'exception',
      data: { status: 409, code: 'lock-busy', retryAfterMs: expect.any(Number) },
    });
    expect(code(await ask(other, 'lose', { account }))).toBe('lock-busy');
    await server.go(account);
    expect(await first).toEqual({ acknowledged: { closed: account } });
    expect(code(await ask(server, 'close', {}))).toBe('lock-name-invalid');
  });

  it('G12 tells that the lock was lost', async () => {
    const data = { account: randomUUID() };
    expect(await ask(server, 'lose', data)).toMatchObject({
      event: 'exception',
      data: { status: 409, code: 'lock-lost', cause: { pattern: 'lose', data } },
    });
  });

  it('G83 refuses a handler that acknowledges by hand at start-up', async () => {
    const { refused } = (await server.process.waitForMessage((told) => 'refused' in (told as object))) as any;
    expect(refused).toMatch(/^@Idempotent on ByHand\.refund: it is given the acknowledgement/);
  });
});

// The last one: it ends a server.
it('G51 a server killed after the effect: the duplicate is refused where the outcome counts', async () => {
  const [survivor, dying] = servers as [RefundServer, RefundServer];
  const refund = command({ dies: true });
  await expect(ask(dying, 'refund.careful', refund)).rejects.toThrow('the connection closed');
  const answer = await until(
    () => ask(survivor, 'refund.careful', refund),
    (heard) => code(heard) !== 'in-progress',
  );
  expect(answer.data).toMatchObject({ status: 409, code: 'outcome-uncertain' });
  expect(await paid(refund)).toBe(1);
});

/** Sends a message, and leaves when its handler is at work. */
async function left(server: RefundServer, event: string, data: RefundCommand): Promise<void> {
  const isWs = server === servers[0];
  const socket = isWs
    ? new WebSocket(`ws://127.0.0.1:${server.port}`)
    : io(`http://127.0.0.1:${server.port}`, { transports: ['websocket'], forceNew: true });
  if (socket instanceof WebSocket) {
    await once(socket, 'open');
    socket.send(JSON.stringify({ event, data }));
  } else {
    socket.emit(event, data);
  }
  await server.began(data.refundId);
  if (socket instanceof WebSocket) socket.terminate();
  else socket.disconnect();
}

/** Asks until the answer is such. */
async function until(heard: () => Promise<Answer>, isSuch: (answer: Answer) => boolean): Promise<Answer> {
  const deadline = performance.now() + 15_000;
  for (;;) {
    const answer = await heard();
    if (isSuch(answer) || performance.now() > deadline) return answer;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
