import { createGzip, gzipSync } from 'node:zlib';
import { Controller, Header, type INestApplication, Post, Res, StreamableFile } from '@nestjs/common';
import { Idempotent } from 'nestjs-idempotent';
import { expectReplayOf, type Platform, PLATFORMS, startApp, type TestApp } from '../support/http-app.js';

const TEXT = 'money leaves once. '.repeat(500);
let ran = 0;

@Controller()
class Refunds {
  @Post('object') @Idempotent() object() {
    return { ran: ++ran, text: TEXT };
  }
  @Post('file') @Idempotent() file() {
    ran++;
    return new StreamableFile(Buffer.from(TEXT), { type: 'text/plain' });
  }
  @Post('by-hand') @Idempotent() byHand(@Res() response: any) {
    response.status(200).send({ ran: ++ran, text: TEXT });
  }
  @Post('zipped')
  @Header('content-encoding', 'gzip')
  @Header('content-type', 'text/plain')
  @Idempotent()
  zipped() {
    return new StreamableFile(gzipSync(`${++ran} ${TEXT}`));
  }
  @Post('zipped-inside') @Idempotent() zippedInside(@Res({ passthrough: true }) response: any) {
    response.header('content-encoding', 'gzip').header('content-type', 'text/plain');
    return new StreamableFile(gzipSync(`${++ran} ${TEXT}`));
  }
}

const acceptsGzip = (request: any) => String(request.headers['accept-encoding']).includes('gzip');

/** In the manner of the `compression` middleware: wraps the response before anybody else sees it. */
function compress(request: any, response: any, next: () => void): void {
  const { write, end } = response;
  let gzip: ReturnType<typeof createGzip> | undefined;
  const start = () => {
    if (gzip || response.headersSent || response.getHeader('content-encoding')) return;
    gzip = createGzip();
    response.setHeader('content-encoding', 'gzip');
    response.removeHeader('content-length');
    gzip.on('data', (chunk) => write.call(response, chunk)).on('end', () => end.call(response));
  };
  if (acceptsGzip(request)) {
    response.write = (...args: any[]) => (
      start(),
      gzip ? (gzip as any).write(...args) : write.apply(response, args)
    );
    response.end = (...args: any[]) => (
      start(),
      gzip ? (gzip as any).end(...args) : end.apply(response, args)
    );
  }
  response.setHeader('vary', 'accept-encoding');
  next();
}

/** In the manner of @fastify/compress. */
async function compressed(request: any, reply: any, payload: any): Promise<unknown> {
  reply.header('vary', 'accept-encoding');
  if (!acceptsGzip(request) || !payload || reply.getHeader('content-encoding')) return payload;
  reply.header('content-encoding', 'gzip').removeHeader('content-length');
  if (typeof payload.pipe === 'function') return payload.pipe(createGzip());
  return gzipSync(payload);
}

const layers: Record<Platform, [string, (app: INestApplication) => void][]> = {
  express: [['middleware', (app) => void app.use(compress)]],
  fastify: [
    [
      'a hook of every route',
      (app) => fastifyOf(app).addHook('onRoute', (route: any) => (route.onSend = [compressed])),
    ],
    ['a hook of the app', (app) => fastifyOf(app).addHook('onSend', compressed)],
  ],
};

function fastifyOf(app: INestApplication): any {
  return app.getHttpAdapter().getInstance();
}

const GZIP = { 'accept-encoding': 'gzip' };
const PLAIN = { 'accept-encoding': 'identity' };

beforeEach(() => {
  ran = 0;
});

describe.each(PLATFORMS)('%s', (platform) => {
  describe.each(layers[platform])('compressed by %s', (_name, setup) => {
    let app: TestApp;

    beforeAll(async () => {
      app = await startApp({ platform, controllers: [Refunds], setup });
    });
    afterAll(() => app.close());

    it.each(['object', 'file', 'by-hand'])(
      'G22 %s is replayed in the encoding each client accepts',
      async (path) => {
        for (const [first, second] of [
          [GZIP, PLAIN],
          [PLAIN, GZIP],
        ] as const) {
          ran = 0;
          const key = `${path}-${first['accept-encoding']}`;
          const original = await app.post(`/${path}`, key, {}, first);
          expect(original.text).toContain(TEXT);
          for (const headers of [second, first, second]) {
            const replay = await app.post(`/${path}`, key, {}, headers);
            expectReplayOf(original, replay);
            expect(replay.headers.get('content-encoding')).toBe(headers === GZIP ? 'gzip' : null);
            expect(replay.headers.get('vary')).toBe('accept-encoding');
          }
          expect(original.headers.get('content-encoding')).toBe(first === GZIP ? 'gzip' : null);
          expect(ran).toBe(1);
        }
      },
    );
  });

  it.each(['/zipped', '/zipped-inside'])(
    'G22 what the handler has compressed itself keeps its encoding: %s',
    async (path) => {
      await using app = await startApp({ platform, controllers: [Refunds] });
      const first = await app.post(path, 'k', {}, GZIP);
      expect(first.text).toBe(`${ran} ${TEXT}`);
      const replay = await app.post(path, 'k', {}, GZIP);
      expectReplayOf(first, replay);
      expect(replay.headers.get('content-encoding')).toBe('gzip');
    },
  );
});
