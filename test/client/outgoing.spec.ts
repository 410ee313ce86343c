import { Readable } from 'node:stream';
import axios, { type InternalAxiosRequestConfig } from 'axios';
import {
  idempotentAdapter,
  idempotentFetch,
  isRetryable,
  NoAnswerError,
  type OutgoingOptions,
} from 'nestjs-idempotent/client';
import { type OutgoingCall, untilAnswered } from '../../lib/client/outgoing-call.js';
import { checkedOptions } from '../../lib/client/outgoing.options.js';
import { retryAfterMs } from '../../lib/client/retry-after.js';
import { eventually } from '../support/http-app.js';
import { FACES, QUICK } from './faces.js';
import { ScriptedServer } from './scripted-server.js';

let server: ScriptedServer;
let url: string;
beforeAll(async () => {
  server = await new ScriptedServer().listen();
  url = `${server.url}/payouts`;
});
afterAll(() => server[Symbol.asyncDispose]());

const COME_AGAIN = { 'retry-after': '0' };

describe.each(FACES)('%s', (_, through) => {
  const send = through();

  it('sends again after 409 with Retry-After, 408, 425, 429, 502, 503, 504: the same key and the same bytes', async () => {
    server.will([409, COME_AGAIN], 408, 425, [429, COME_AGAIN], 502, 503, [503, COME_AGAIN], 504, 200);
    expect(await send(url, { key: 'fixed' })).toMatchObject({ status: 200, text: '{"number":9}' });
    const sent = server.seen.map(({ method, headers, body }) => [
      method,
      headers['idempotency-key'],
      headers['content-type'],
      body.toString(),
    ]);
    expect(new Set(sent.map(String))).toEqual(new Set(['POST,fixed,application/json,{"amount":100}']));
  });

  it.each([400, 401, 403, 404, 409, 412, 422, 500, 501])('%i is an answer: sent once', async (status) => {
    server.will(status);
    expect(await send(url)).toMatchObject({ status, text: '{"number":1}' });
    expect(server.seen).toHaveLength(1);
  });

  it('an answer that breaks off is none', async () => {
    const breakOff = (response: import('node:http').ServerResponse) => {
      response.writeHead(201, { 'content-length': '1000' });
      response.write('{"number":', () => response.destroy());
    };
    server.will(breakOff, breakOff);
    expect(await send(url)).toMatchObject({ status: 201, text: '{"number":3}' });
  });

  it('an answer without a body is one', async () => {
    server.will(204);
    expect(await send(url)).toMatchObject({ status: 204, text: '' });
  });

  it('a deadline ends it, at once when Retry-After is beyond it', async () => {
    const patient = through({ ...QUICK, deadlineMs: 60_000 });
    server.will([503, { 'retry-after': '61' }]);
    const tooLate = await patient(url).catch((error) => error);
    expect(tooLate).toMatchObject({ attempts: 1, limit: 'deadlineMs', status: 503 });
    const hasty = through({ ...QUICK, attempts: 1_000, deadlineMs: 300 });
    server.will(...Array.from({ length: 1_000 }, () => 503));
    const over = await hasty(url).catch((error) => error);
    expect(over).toBeInstanceOf(NoAnswerError);
    expect(over).toMatchObject({ limit: 'deadlineMs', request: `POST ${url}`, key: 'key-1' });
  });

  it('a deadline ends an attempt as well', async () => {
    const hasty = through({ ...QUICK, deadlineMs: 300 });
    server.will(() => undefined);
    await expect(hasty(url)).rejects.toThrow(
      /after \d attempts? in \d+ ms \(deadlineMs is over\); the last: no complete answer within \d+ ms$/,
    );
  });

  it('a signal ends it: before, while it is sent, and while it waits', async () => {
    const patient = through({ ...QUICK, attemptTimeoutMs: 60_000 });
    server.will();
    await expect(patient(url, { signal: AbortSignal.abort() })).rejects.toThrow(/abort|cancel/i);
    expect(server.seen).toHaveLength(0);
    for (const answer of [() => undefined, [503, { 'retry-after': '50' }] as const]) {
      const controller = new AbortController();
      server.will(answer);
      const ended = patient(url, { signal: controller.signal }).catch((error: Error) => error.message);
      await eventually(() => expect(server.seen).toHaveLength(1));
      controller.abort();
      expect(await ended).toMatch(/abort|cancel/i);
      expect(server.seen).toHaveLength(1);
    }
  });

  it('what cannot be sent twice is not sent once', async () => {
    server.will();
    await expect(send(url, { key: null })).rejects.toThrow(
      /^POST without the header Idempotency-Key cannot be sent again safely; give ctx\.deriveKey/,
    );
    await expect(send(url, { key: 'x'.repeat(256) })).rejects.toThrow(
      'The header Idempotency-Key has 256 characters; it must have 1 to 255',
    );
    for (const body of [Readable.from(['a']), new Blob(['a']).stream()]) {
      await expect(send(url, { body: body as ReadableStream })).rejects.toThrow(
        'The body is a stream, which cannot be sent a second time; read it into a string, a Buffer or a Blob first',
      );
    }
    expect(server.seen).toHaveLength(0);
  });

  it('a GET needs no key', async () => {
    server.will(503, 200);
    expect(await send(url, { method: 'GET', key: null })).toMatchObject({ status: 200 });
    expect(server.seen.map(({ method }) => method)).toEqual(['GET', 'GET']);
  });

  it('the header may have another name, and what is worth another attempt may be decided', async () => {
    const own = through({
      ...QUICK,
      header: 'X-Request-Id',
      retryable: (answer) => isRetryable(answer) || answer.header('X-Should-Retry') === 'true',
    });
    await expect(own(url)).rejects.toThrow(/^POST without the header X-Request-Id/);
    const ownKey = through({ ...QUICK, header: 'Content-Type', retryable: ({ status }) => status === 500 });
    server.will(500, 503);
    expect(await ownKey(url, { key: null })).toMatchObject({ status: 503 });
  });

  it.each([
    [{ attempts: 0 }, 'attempts is 0; it must be an integer from 1 to 1000'],
    [
      { deadlineMs: Infinity },
      'deadlineMs is Infinity; it must be an integer from 1 to 2147483647 (milliseconds)',
    ],
    [{ attemptTimeoutMs: 1.5 }, 'attemptTimeoutMs is 1.5; it must be'],
    [{ backoffMs: -1 }, 'backoffMs is -1; it must be'],
    [{ maxBackoffMs: NaN }, 'maxBackoffMs is NaN; it must be'],
    [{ header: 'a b' }, 'header is a b; it must be the name of a header'],
    [{ retryable: 503 as never }, 'retryable is 503; it must be a function of the answer'],
  ] satisfies [OutgoingOptions, string][])('%j is refused by name', (options, message) => {
    expect(() => through(options)).toThrow(message);
  });
});

it('fetch: the bytes are those of the first attempt, whatever becomes of the body', async () => {
  const send = idempotentFetch(QUICK);
  const headers = { 'idempotency-key': 'key' };
  const bytes = Buffer.from('before');
  server.will((response) => {
    bytes.write('after!');
    response.writeHead(503).end();
  });
  await send(url, { method: 'POST', headers, body: bytes });
  expect(server.seen.map(({ body }) => body.toString())).toEqual(['before', 'before']);
  const form = new FormData();
  form.set('amount', '100');
  server.will(503);
  const answer = await send(new URL(url), { method: 'POST', headers, body: form });
  const [first, second] = server.seen;
  expect(second!.body.equals(first!.body)).toBe(true);
  expect(second!.headers['content-type']).toBe(first!.headers['content-type']);
  expect([answer.url, answer.ok, await answer.json()]).toEqual([url, true, { number: 2 }]);
});

it('fetch: a Request is refused, and so is what fetch itself refuses', async () => {
  const send = idempotentFetch(QUICK);
  const request = new Request(url, { method: 'POST', body: 'a' });
  await expect(send(request as never)).rejects.toThrow(/^The address must be a string or a URL/);
  await expect(send('nowhere')).rejects.toThrow('Failed to parse URL from nowhere');
  expect(() => idempotentFetch({ fetch: 1 as never })).toThrow(/^fetch is 1; it must be a function/);
});

it('axios: what Axios can never send is not sent again, and its errors stay its own', async () => {
  const adapter = idempotentAdapter<InternalAxiosRequestConfig, any>(axios.getAdapter('http'), QUICK);
  const client = axios.create({ adapter, headers: { 'Idempotency-Key': 'key' }, baseURL: server.url });
  await expect(client.post('ftp://127.0.0.1/')).rejects.toMatchObject({ code: 'ERR_BAD_REQUEST' });
  server.will(400);
  await expect(client.post('/payouts')).rejects.toMatchObject({ code: 'ERR_BAD_REQUEST', status: 400 });
  await expect(client.post('/payouts', {}, { responseType: 'stream' })).rejects.toThrow(
    /^responseType is stream/,
  );
  server.will(503, 503);
  const one = axios.create({
    ...client.defaults,
    adapter: idempotentAdapter(axios.getAdapter('http'), { attempts: 1 }),
  } as never);
  await expect(one.post('/payouts?secret')).rejects.toMatchObject({ request: `POST ${url}`, attempts: 1 });
  const cancelled = new AbortController();
  server.will(() => cancelled.abort());
  const ended = client.post('/payouts', {}, { signal: cancelled.signal }).catch((error) => error);
  expect(axios.isCancel(await ended)).toBe(true);
  expect(() => idempotentAdapter('http' as never)).toThrow(/^adapter is http; it must be a function/);
});

describe('waits', () => {
  /** The waits of a call whose attempts all come to this. */
  async function waits(random: number, answer: { status: number; retryAfter?: string }, attempts: number) {
    const made: number[] = [];
    const call: OutgoingCall<never> = {
      request: 'POST nowhere',
      key: 'key',
      signal: undefined,
      send: async () => ({
        status: answer.status,
        header: (name) => (name === 'retry-after' ? answer.retryAfter : undefined),
        settle: () => {
          throw new Error('not an answer');
        },
      }),
      isLost: () => true,
    };
    const pause = async (ms: number) => void made.push(ms);
    const chance = { random: () => random, pause };
    const options = checkedOptions({ attempts, deadlineMs: 1_000_000 });
    await expect(untilAnswered(call, options, chance)).rejects.toThrow(NoAnswerError);
    return made;
  }

  it('are a random part of a time that doubles up to a limit', async () => {
    const longest = [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000];
    expect(await waits(1, { status: 503 }, 9)).toEqual(longest);
    expect(await waits(0.25, { status: 503 }, 9)).toEqual(longest.map((ms) => ms / 4));
    expect(await waits(0, { status: 503 }, 3)).toEqual([0, 0]);
  });

  it('come after what Retry-After says', async () => {
    expect(await waits(1, { status: 409, retryAfter: '2' }, 4)).toEqual([2_200, 2_400, 2_800]);
  });
});

it('Retry-After is seconds, or a date by the clock of who sent it', () => {
  const date = 'Wed, 21 Oct 2026 07:28:00 GMT';
  expect(retryAfterMs('120', undefined)).toBe(120_000);
  expect(retryAfterMs('Wed, 21 Oct 2026 07:28:30 GMT', date)).toBe(30_000);
  expect(retryAfterMs('Wed, 21 Oct 2026 07:27:00 GMT', date)).toBe(0);
  expect(retryAfterMs('Wed, 21 Oct 2015 07:28:00 GMT', undefined)).toBe(0);
  for (const unreadable of [undefined, '', 'soon', '-1'])
    expect(retryAfterMs(unreadable, date)).toBeUndefined();
});
