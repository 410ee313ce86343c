import { connect, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { Controller, Post, Res, StreamableFile } from '@nestjs/common';
import { Idempotent, memoryStore, type ResultStore } from 'nestjs-idempotent';
import { altered, eventually, expectProblem, expectReplayOf, Gate } from '../support/http-app.js';
import { MemoryLogger, PLATFORMS, startApp, type TestApp } from '../support/http-app.js';

let ran = 0;
let entered = new Gate();
let leave = new Gate();

beforeEach(() => {
  ran = 0;
  entered = new Gate();
  leave = new Gate();
});

@Controller()
class Refunds {
  @Post('object') @Idempotent() object() {
    return { id: ++ran };
  }
  @Post('nothing') @Idempotent() nothing() {
    ran++;
  }
  @Post('file') @Idempotent() file() {
    ran++;
    return new StreamableFile(Buffer.from('the file'));
  }
  @Post('stream') @Idempotent() stream() {
    ran++;
    return new StreamableFile(Readable.from(['one ', 'two ', 'three'].map((text) => Buffer.from(text))));
  }
  @Post('by-hand') @Idempotent() byHand(@Res() response: any) {
    response.status(201).send({ id: ++ran });
  }
  @Post('slow-object') @Idempotent() async slowObject() {
    await this.slow();
    return { id: ran };
  }
  @Post('slow-by-hand') @Idempotent() async slowByHand(@Res() response: any) {
    await this.slow();
    response.status(201).send({ id: ran });
  }
  @Post('slow-file') @Idempotent() async slowFile() {
    await this.slow();
    return new StreamableFile(Buffer.from('the file'));
  }
  @Post('slow-stream') @Idempotent() slowStream() {
    ran++;
    return new StreamableFile(Readable.from(slowly()));
  }
  @Post('shaky') @Idempotent({ backendTimeoutMs: 300 }) shaky() {
    return { id: ++ran };
  }

  private async slow(): Promise<void> {
    ran++;
    entered.open();
    await leave.opened;
  }
}

async function* slowly(): AsyncGenerator<Buffer> {
  yield Buffer.from('first half, ');
  entered.open();
  await leave.opened;
  yield Buffer.from('second half');
}

/** Sends a request and does not wait for its answer. */
function sendOnly(app: TestApp, path: string, key: string): Socket {
  const socket = connect(app.port, '127.0.0.1');
  socket.write(
    `POST ${path} HTTP/1.1\r\nhost: x\r\nidempotency-key: ${key}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}`,
  );
  return socket;
}

function startWith(
  platform: (typeof PLATFORMS)[number],
  store: ResultStore,
  logger?: MemoryLogger,
): Promise<TestApp> {
  return startApp({
    platform,
    controllers: [Refunds],
    module: { store, backendTimeoutMs: 10_000 },
    ...(logger ? { logger } : {}),
  });
}

describe.each(PLATFORMS)('%s', (platform) => {
  describe('G20', () => {
    it.each(['object', 'nothing', 'file', 'stream', 'by-hand'])(
      'not a byte of %s leaves before it is stored',
      async (path) => {
        const inner = memoryStore();
        const storing = new Gate();
        const stored = new Gate();
        const store = altered(inner, {
          complete: async (...completion) => {
            storing.open();
            await stored.opened;
            return inner.complete(...completion);
          },
        });
        await using app = await startWith(platform, store);
        const socket = sendOnly(app, `/${path}`, 'k');
        const received: Buffer[] = [];
        const firstByte = new Promise<void>((resolve) => {
          socket.on('data', (chunk) => {
            received.push(chunk);
            resolve();
          });
        });
        await storing.opened;
        // A second request on another connection is answered: bytes had their chance.
        expectProblem(await app.post(`/${path}`, 'k', {}), 409, 'in-progress');
        expect(received).toEqual([]);
        stored.open();
        await firstByte;
        expect(String(received[0])).toMatch(/^HTTP\/1.1 201 /);
        socket.destroy();
        expect((await app.post(`/${path}`, 'k', {})).headers.get('idempotent-replayed')).toBe('true');
        expect(ran).toBe(1);
      },
    );

    it.each([
      ['slow-object', '{"id":1}'],
      ['slow-by-hand', '{"id":1}'],
      ['slow-file', 'the file'],
      ['slow-stream', 'first half, second half'],
    ])('a client that hangs up on %s changes nothing', async (path, text) => {
      await using app = await startWith(platform, memoryStore());
      const server = app.app.getHttpServer();
      const closed = new Promise<void>((resolve) => {
        server.once('connection', (socket: Socket) => void socket.once('close', () => resolve()));
      });
      const socket = sendOnly(app, `/${path}`, 'k');
      await entered.opened;
      socket.destroy();
      await closed;
      expectProblem(await app.post(`/${path}`, 'k', {}), 409, 'in-progress');
      leave.open();
      await eventually(async () => {
        const replay = await app.post(`/${path}`, 'k', {});
        expect([replay.status, replay.text]).toEqual([201, text]);
        expect(replay.headers.get('idempotent-replayed')).toBe('true');
      });
      expect(ran).toBe(1);
    });

    it('a client that hangs up while its answer is being stored changes nothing', async () => {
      const inner = memoryStore();
      const storing = new Gate();
      const stored = new Gate();
      const store = altered(inner, {
        complete: async (...completion) => {
          storing.open();
          await stored.opened;
          return inner.complete(...completion);
        },
      });
      await using app = await startWith(platform, store);
      const closed = new Promise<void>((resolve) => {
        app.app.getHttpServer().once('connection', (it: Socket) => void it.once('close', () => resolve()));
      });
      const socket = sendOnly(app, '/object', 'k');
      await storing.opened;
      socket.destroy();
      await closed;
      stored.open();
      await eventually(async () => {
        const replay = await app.post('/object', 'k', {});
        expect([replay.status, replay.json]).toEqual([201, { id: 1 }]);
      });
      expect(ran).toBe(1);
    });
  });

  describe('G21', () => {
    it('a completion that fails for a while is tried again, and the answer is recorded', async () => {
      const inner = memoryStore();
      let failures = 0;
      const store = altered(inner, {
        complete: (...completion) =>
          ++failures <= 3 ? Promise.reject(new Error('connection reset')) : inner.complete(...completion),
      });
      const logger = new MemoryLogger();
      await using app = await startWith(platform, store, logger);
      const first = await app.post('/object', 'k', {});
      expect([first.status, first.json, failures]).toEqual([201, { id: 1 }, 4]);
      expectReplayOf(first, await app.post('/object', 'k', {}));
      expect(app.counters).toMatchObject({ unstored: 0, uncertain: 0, claims: 1 });
      expect(logger.lines).toEqual([]);
    });

    it('a completion that succeeded but whose reply was lost is recorded once', async () => {
      const inner = memoryStore();
      let lost = 0;
      const store = altered(inner, {
        complete: async (...completion) => {
          const recorded = await inner.complete(...completion);
          if (lost++ === 0) throw new Error('connection reset');
          return recorded;
        },
      });
      await using app = await startWith(platform, store);
      const first = await app.post('/object', 'k', {});
      expect([first.status, lost]).toEqual([201, 2]);
      expectReplayOf(first, await app.post('/object', 'k', {}));
    });

    it('a completion that fails for good: the caller has the answer, the record is uncertain', async () => {
      const store = altered(memoryStore(), { complete: () => Promise.reject(new Error('disk full')) });
      const logger = new MemoryLogger();
      await using app = await startWith(platform, store, logger);
      const first = await app.post('/shaky', 'k', {});
      expect([first.status, first.json]).toEqual([201, { id: 1 }]);
      await eventually(async () => {
        expectProblem(await app.post('/shaky', 'k', {}), 409, 'outcome-uncertain');
      });
      expectProblem(await app.post('/shaky', 'k', { other: 1 }), 422, 'key-reused');
      expect(ran).toBe(1);
      expect(app.counters).toMatchObject({ unstored: 1, uncertain: 1, claims: 1 });
      expect(logger.lines.filter((line) => line.startsWith('error'))).toEqual([
        expect.stringMatching(/Refunds\.shaky \(record [0-9a-f]{12}\) succeeded, but .* disk full/),
        expect.stringMatching(/Refunds\.shaky \(record [0-9a-f]{12}\) is uncertain now/),
      ]);
      expect(logger.lines.join()).not.toContain('"k"');
    });

    it('while nothing at all can be stored the key is held, and uncertain once it can be', async () => {
      const inner = memoryStore();
      let isDown = false;
      const refuse = () => Promise.reject(new Error('disk full'));
      const store = altered(inner, {
        complete: refuse,
        markUncertain: (...claim) => (isDown ? refuse() : inner.markUncertain(...claim)),
      });
      await using app = await startWith(platform, store);
      isDown = true;
      expect((await app.post('/shaky', 'k', {})).status).toBe(201);
      expectProblem(await app.post('/shaky', 'k', {}), 409, 'in-progress');
      isDown = false;
      await eventually(async () => {
        expectProblem(await app.post('/shaky', 'k', {}), 409, 'outcome-uncertain');
      });
      expect(ran).toBe(1);
    });
  });
});
