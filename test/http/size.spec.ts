import { createHash } from 'node:crypto';
import { type IncomingMessage, request } from 'node:http';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { Body, Controller, Post, Res, StreamableFile } from '@nestjs/common';
import { Idempotent } from 'nestjs-idempotent';
import { eventually, expectProblem, expectReplayOf, Gate, PLATFORMS, startApp } from '../support/http-app.js';
import type { Answer, TestApp } from '../support/http-app.js';

const MB = 2 ** 20;
const LIMIT = 1_000;
let ran = 0;
/** Bytes the source of a stream has handed out. */
let produced = 0;
let ended = new Gate();
let leave = new Gate();

beforeEach(() => {
  ran = 0;
  produced = 0;
  ended = new Gate();
  leave = new Gate();
});

/** `bytes` bytes in pieces of 64 kB, each of another value. */
function* pieces(bytes: number): Generator<Buffer> {
  try {
    for (let i = 0; produced < bytes; i++) {
      const piece = Buffer.alloc(Math.min(65_536, bytes - produced), i);
      produced += piece.length;
      yield piece;
    }
  } finally {
    ended.open();
  }
}

async function* failing(bytes: number): AsyncGenerator<Buffer> {
  yield Buffer.alloc(bytes, 1);
  throw new Error('the disk broke');
}

async function* events(): AsyncGenerator<string> {
  yield 'data: 1\n\n';
  await leave.opened;
  yield 'data: 2\n\n';
}

@Controller()
class Refunds {
  @Post('text') @Idempotent({ maxResponseBytes: LIMIT }) text(@Body() { bytes }: { bytes: number }) {
    ran++;
    return 'x'.repeat(bytes);
  }
  @Post('file') @Idempotent({ maxResponseBytes: LIMIT }) file(@Body() { bytes }: { bytes: number }) {
    ran++;
    return new StreamableFile(Buffer.alloc(bytes, 7));
  }
  @Post('pieces') @Idempotent({ maxResponseBytes: LIMIT }) pieces(@Body() { bytes }: { bytes: number }) {
    ran++;
    return new StreamableFile(Readable.from([Buffer.alloc(bytes - 10, 7), Buffer.alloc(10, 8)]));
  }
  @Post('characters') @Idempotent({ maxResponseBytes: LIMIT }) characters(
    @Body() { bytes }: { bytes: number },
  ) {
    ran++;
    return 'é'.repeat(bytes / 2);
  }
  @Post('nothing-kept') @Idempotent({ maxResponseBytes: 0 }) nothingKept(@Body() { text }: { text: string }) {
    ran++;
    return text;
  }
  @Post('stream') @Idempotent() stream(@Body() { bytes }: { bytes: number }) {
    ran++;
    return new StreamableFile(Readable.from(pieces(bytes)));
  }
  @Post('stream-of-length') @Idempotent() streamOfLength(@Body() { bytes }: { bytes: number }) {
    ran++;
    return new StreamableFile(Readable.from(pieces(bytes)), { length: bytes });
  }
  @Post('failing') @Idempotent() failing(@Body() { bytes }: { bytes: number }) {
    ran++;
    return new StreamableFile(Readable.from(failing(bytes)));
  }
}

@Controller()
class ExpressByHand {
  @Post('pipe') @Idempotent() pipe(@Body() { bytes }: { bytes: number }, @Res() response: any) {
    ran++;
    Readable.from(pieces(bytes)).pipe(response);
  }
  @Post('broken-pipe') @Idempotent() brokenPipe(@Res() response: any) {
    ran++;
    const source = Readable.from(failing(100));
    source.once('error', () => response.end()).pipe(response);
  }
  @Post('events') @Idempotent() events(@Res() response: any) {
    ran++;
    response.setHeader('content-type', 'text/event-stream');
    Readable.from(events()).pipe(response);
  }
  @Post('early-headers') @Idempotent() earlyHeaders(@Res() response: any) {
    ran++;
    response.setHeader('content-type', 'text/plain');
    response.flushHeaders();
    Readable.from(events()).pipe(response);
  }
}

@Controller()
class FastifyByHand {
  @Post('pipe') @Idempotent() pipe(@Body() { bytes }: { bytes: number }, @Res() reply: any) {
    ran++;
    reply.send(Readable.from(pieces(bytes)));
  }
  @Post('events') @Idempotent() events(@Res() reply: any) {
    ran++;
    reply.type('text/event-stream').send(Readable.from(events()));
  }
}

const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

function expected(bytes: number): string {
  const all = hashOf(Buffer.concat([...pieces(bytes)]));
  produced = 0;
  return all;
}

/** Answers as soon as the head is there. */
async function begin(app: TestApp, path: string, bytes = 0) {
  const sent = request(`${app.url}/${path}`, {
    method: 'POST',
    headers: { 'idempotency-key': 'k', 'content-type': 'application/json' },
    agent: false,
  });
  sent.end(JSON.stringify({ bytes }));
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return response;
}

describe.each(PLATFORMS)('%s', (platform) => {
  const start = () =>
    startApp({ platform, controllers: [Refunds, platform === 'express' ? ExpressByHand : FastifyByHand] });

  it.each(['text', 'file', 'pieces', 'characters'])(
    'G26 %s: the limit itself is replayed, what is larger is refused',
    async (path) => {
      await using app = await start();
      const first = await app.post(`/${path}`, 'fits', { bytes: LIMIT });
      expect(first.body.length).toBe(LIMIT);
      expectReplayOf(first, await app.post(`/${path}`, 'fits', { bytes: LIMIT }));
      const large = await app.post(`/${path}`, 'large', { bytes: LIMIT + 2 });
      expect([large.status, large.body.length]).toEqual([201, LIMIT + 2]);
      for (let i = 0; i < 2; i++) {
        expectProblem(
          await app.post(`/${path}`, 'large', { bytes: LIMIT + 2 }),
          409,
          'response-not-replayable',
        );
      }
      expectProblem(await app.post(`/${path}`, 'large', { bytes: 1 }), 422, 'key-reused');
      expect(ran).toBe(2);
    },
  );

  it('G26 with a limit of 0 an empty answer is replayed and no other', async () => {
    await using app = await start();
    const empty = await app.post('/nothing-kept', 'empty', { text: '' });
    expectReplayOf(empty, await app.post('/nothing-kept', 'empty', { text: '' }));
    expect((await app.post('/nothing-kept', 'one', { text: '1' })).text).toBe('1');
    expectProblem(await app.post('/nothing-kept', 'one', { text: '1' }), 409, 'response-not-replayable');
    expect(ran).toBe(2);
  });

  it.each(['stream', 'stream-of-length', 'pipe'])('G26 5 MB through %s arrive whole, once', async (path) => {
    await using app = await start();
    const hash = expected(5 * MB);
    const first = await app.post(`/${path}`, 'k', { bytes: 5 * MB });
    expect([first.status < 300, first.body.length, hashOf(first.body)]).toEqual([true, 5 * MB, hash]);
    expectProblem(await app.post(`/${path}`, 'k', { bytes: 5 * MB }), 409, 'response-not-replayable');
    expect(ran).toBe(1);
  });

  it.each(['stream', 'pipe'])('G26 %s waits for a client that reads slowly', async (path) => {
    await using app = await start();
    const response = await begin(app, path, 96 * MB);
    let received = 0;
    let ahead = 0;
    for await (const chunk of response) {
      received += (chunk as Buffer).length;
      ahead = Math.max(ahead, produced - received);
      // One turn of the event loop, in which a source that is not held back would run away.
      await new Promise(setImmediate);
    }
    expect(received).toBe(96 * MB);
    // What is held for the record, and what sockets buffer.
    expect(ahead).toBeLessThan(32 * MB);
  });

  it('G26 a client that hangs up in the middle of a large answer ends its source', async () => {
    await using app = await start();
    const response = await begin(app, 'stream', 512 * MB);
    response.destroy();
    await ended.opened;
    expect(produced).toBeLessThan(512 * MB);
    await eventually(async () => {
      expectProblem(await app.post('/stream', 'k', { bytes: 512 * MB }), 409, 'response-not-replayable');
    });
    expect(ran).toBe(1);
  });

  it.each([
    ['failing', 'before the limit', 100],
    ['failing', 'after the limit', 3 * MB],
    ...(platform === 'express' ? ([['broken-pipe', 'and is ended by hand', 0]] as const) : []),
  ] as const)(
    'G26 a stream (%s) that breaks %s is never replayed as a whole one, nor run again',
    async (path, _name, bytes) => {
      await using app = await start();
      const first = await app.post(`/${path}`, 'k', { bytes }).catch(() => 'broken off');
      const again = await app.post(`/${path}`, 'k', { bytes });
      // What was sent in place of it may be repeated, half of it may not.
      if (again.headers.has('idempotent-replayed')) expectReplayOf(first as Answer, again);
      else expectProblem(again, 409, 'response-not-replayable');
      expect(typeof first === 'string' || first.status >= 400 || again.status === 409).toBe(true);
      expect(ran).toBe(1);
    },
  );

  it.each(platform === 'express' ? ['events', 'early-headers'] : ['events'])(
    'G26 %s are not held back',
    async (path) => {
      await using app = await start();
      const response = await begin(app, path);
      const received = response[Symbol.asyncIterator]();
      expect(String((await received.next()).value)).toBe('data: 1\n\n');
      leave.open();
      expect(String((await received.next()).value)).toBe('data: 2\n\n');
      expect((await received.next()).done).toBe(true);
      expectProblem(await app.post(`/${path}`, 'k', { bytes: 0 }), 409, 'response-not-replayable');
      expect(ran).toBe(1);
    },
  );
});
