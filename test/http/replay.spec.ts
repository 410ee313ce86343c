import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  Catch,
  Controller,
  type ArgumentsHost,
  type ExceptionFilter,
  Header,
  HttpCode,
  HttpException,
  Next,
  NotFoundException,
  Post,
  Redirect,
  Render,
  Res,
  StreamableFile,
  UseFilters,
} from '@nestjs/common';
import { Idempotent } from 'nestjs-idempotent';
import {
  type Answer,
  eventually,
  expectProblem,
  expectReplayOf,
  type Platform,
  PLATFORMS,
  startApp,
  type TestApp,
} from '../support/http-app.js';

let ran = 0;
beforeEach(() => {
  ran = 0;
});

const EVERY_BYTE = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
const folder = await mkdtemp(join(tmpdir(), 'idempotent-'));
const file = join(folder, 'page.html');
await writeFile(file, '<p>from a file</p>');
afterAll(() => rm(folder, { recursive: true }));

class Broke extends Error {}

@Catch(Broke)
class BrokeFilter implements ExceptionFilter {
  catch(_error: Broke, host: ArgumentsHost) {
    host.switchToHttp().getResponse().status(402).send({ broke: ran });
  }
}

/** Turns an error into a success. */
@Catch(Broke)
class ForgivingFilter implements ExceptionFilter {
  catch(_error: Broke, host: ArgumentsHost) {
    host.switchToHttp().getResponse().status(200).send({ forgiven: ran });
  }
}

@Controller()
class Values {
  @Post('object') @Idempotent() object() {
    return { id: ++ran, text: 'ünï 😀', none: null, list: [1, 'a', true], at: new Date(86_400_000) };
  }
  @Post('array') @Idempotent() array() {
    return [++ran, {}];
  }
  @Post('text') @Idempotent() text() {
    return `text ${++ran} ünï 😀`;
  }
  @Post('html') @Header('content-type', 'text/html; charset=utf-8') @Idempotent() html() {
    return `<p>${++ran}</p>`;
  }
  @Post('empty-text') @Idempotent() emptyText() {
    ran++;
    return '';
  }
  @Post('number') @Idempotent() number() {
    return ++ran + 0.5;
  }
  @Post('zero') @Idempotent() zero() {
    return 0 * ++ran;
  }
  @Post('yes') @Idempotent() yes() {
    return ++ran > 0;
  }
  @Post('no') @Idempotent() no() {
    return ++ran < 0;
  }
  @Post('null') @Idempotent() null() {
    ran++;
    return null;
  }
  @Post('void') @Idempotent() void() {
    ran++;
  }
  @Post('promise') @Idempotent() async promise() {
    await Promise.resolve();
    return { id: ++ran };
  }
  @Post('buffer') @Idempotent() buffer() {
    ran++;
    return EVERY_BYTE;
  }
  @Post('file') @Idempotent() file() {
    ran++;
    return new StreamableFile(EVERY_BYTE, { type: 'image/png', disposition: 'attachment; filename="a.png"' });
  }
  @Post('file-of-length') @Idempotent() fileOfLength() {
    ran++;
    return new StreamableFile(Readable.from([EVERY_BYTE, EVERY_BYTE]), { length: 512 });
  }
  @Post('stream') @Idempotent() stream() {
    ran++;
    return new StreamableFile(Readable.from(Array.from({ length: 50 }, (_, i) => Buffer.alloc(1_000, i))));
  }
  @Post('no-content') @HttpCode(204) @Idempotent() noContent() {
    ran++;
  }
  @Post('accepted') @HttpCode(202) @Idempotent() accepted() {
    return { id: ++ran };
  }
  @Post('teapot') @HttpCode(299) @Idempotent() odd() {
    return { id: ++ran };
  }
  @Post('redirect') @Redirect('/there', 303) @Idempotent() redirect() {
    ran++;
  }
  @Post('redirect-dynamic') @Redirect('/there', 303) @Idempotent() redirectDynamic() {
    return { url: `/elsewhere/${++ran}`, statusCode: 307 };
  }
  @Post('not-found') @Idempotent() notFound() {
    throw new NotFoundException(`no order ${++ran}`);
  }
  @Post('custom-error') @Idempotent() customError() {
    throw new HttpException({ reason: ++ran, list: [1] }, 422);
  }
  @Post('filtered') @UseFilters(BrokeFilter) @Idempotent({ onError: 'replay' }) filtered() {
    ran++;
    throw new Broke('no money');
  }
  @Post('forgiven') @UseFilters(ForgivingFilter) @Idempotent() forgiven() {
    ran++;
    throw new Broke('no money');
  }
}

@Controller()
class Passthrough {
  @Post('passthrough') @Idempotent() passthrough(@Res({ passthrough: true }) response: any) {
    response.status(203).header('content-language', 'de').header('x-other', '1');
    return { id: ++ran };
  }
  @Post('passthrough-file') @Idempotent() passthroughFile(@Res({ passthrough: true }) response: any) {
    ran++;
    response.header('content-type', 'application/pdf');
    return new StreamableFile(EVERY_BYTE);
  }
}

@Controller()
class ByHand {
  @Post('send') @Idempotent() send(@Res() response: any) {
    response.status(202).header('location', `/jobs/${++ran}`).send({ id: ran });
  }
  @Post('send-text') @Idempotent() sendText(@Res() response: any) {
    response.status(200).type('text/plain').send(`text ${++ran}`);
  }
  @Post('send-buffer') @Idempotent() sendBuffer(@Res() response: any) {
    ran++;
    response.status(200).send(EVERY_BYTE);
  }
  @Post('send-later') @Idempotent() async sendLater(@Res() response: any) {
    await new Promise(setImmediate);
    response.send({ id: ++ran });
  }
  @Post('send-after-return') @Idempotent() sendAfterReturn(@Res() response: any) {
    const id = ++ran;
    setImmediate(() => response.send({ id }));
  }
  @Post('send-redirect') @Idempotent() sendRedirect(@Res() response: any) {
    response.status(303);
    response.header('location', `/there/${++ran}`);
    response.send();
  }
  @Post('send-401') @Idempotent() send401(@Res() response: any) {
    response.status(401).send({ id: ++ran });
  }
}

/** The raw response: of Node on Express. */
@Controller()
class ExpressByHand {
  @Post('json') @Idempotent() json(@Res() response: any) {
    response.status(200).json({ id: ++ran });
  }
  @Post('end') @Idempotent() end(@Res() response: any) {
    ran++;
    response.statusCode = 200;
    response.end();
  }
  @Post('write-end') @Idempotent() writeEnd(@Res() response: any) {
    response.setHeader('content-type', 'text/csv');
    response.write('a;b\n');
    response.write(Buffer.from('1;2\n'));
    response.end(`${++ran};é\n`, 'latin1');
  }
  @Post('write-head') @Idempotent() writeHead(@Res() response: any) {
    response.writeHead(206, 'Some', { 'content-type': 'text/plain', location: `/x/${++ran}` });
    response.end('half');
  }
  @Post('write-head-pairs') @Idempotent() writeHeadPairs(@Res() response: any) {
    response.writeHead(200, ['content-type', 'text/plain', 'etag', `"${++ran}"`]);
    response.end('pairs');
  }
  @Post('callbacks') @Idempotent() async callbacks(@Res() response: any) {
    ran++;
    await new Promise<void>((done) => response.write('one ', () => done()));
    await new Promise<void>((done) => response.end('two', () => done()));
    if (!response.writableEnded || !response.headersSent) throw new Error('it has ended');
  }
  @Post('pipe') @Idempotent() pipe(@Res() response: any) {
    ran++;
    Readable.from(Array.from({ length: 50 }, (_, i) => Buffer.alloc(1_000, i))).pipe(response);
  }
  @Post('pipeline') @Idempotent() async pipeline(@Res() response: any) {
    ran++;
    await pipeline(Readable.from(['a', 'b', 'c']), response);
  }
  @Post('send-file') @Idempotent() sendFile(@Res() response: any) {
    ran++;
    response.sendFile(file);
  }
  @Post('download') @Idempotent() download(@Res() response: any) {
    ran++;
    response.download(file, 'other.html');
  }
  @Post('express-redirect') @Idempotent() redirect(@Res() response: any) {
    response.redirect(302, `/there/${++ran}`);
  }
  @Post('next') @Idempotent() next(@Next() next: () => void) {
    ran++;
    next();
  }
}

/** Fastify's own ways. */
@Controller()
class FastifyByHand {
  @Post('reply-stream') @Idempotent() replyStream(@Res() reply: any) {
    ran++;
    reply.type('text/csv').send(Readable.from(['a;b\n', '1;2\n']));
  }
  @Post('returned-stream') @Idempotent() returnedStream() {
    ran++;
    return Readable.from([Buffer.from('a;b\n'), Buffer.from('1;2\n')]);
  }
  @Post('typed-array') @Idempotent() typedArray(@Res() reply: any) {
    ran++;
    reply.send(new Uint16Array([1, 2, 300]));
  }
  @Post('fastify-redirect') @Idempotent() redirect(@Res() reply: any) {
    reply.redirect(`/there/${++ran}`, 302);
  }
  @Post('serialized') @Idempotent() serialized(@Res() reply: any) {
    ran++;
    reply
      .serializer((value: unknown) => `<${JSON.stringify(value)}>`)
      .type('text/plain')
      .send({ a: 1 });
  }
}

@Controller()
class Pages {
  @Post('page') @Render('page') @Idempotent() page() {
    return { id: ++ran };
  }
}

const ways = {
  both: [
    ...[
      'object',
      'array',
      'text',
      'html',
      'empty-text',
      'number',
      'zero',
      'yes',
      'no',
      'null',
      'void',
      'promise',
      'buffer',
    ],
    ...[
      'file',
      'file-of-length',
      'stream',
      'no-content',
      'accepted',
      'teapot',
      'redirect',
      'redirect-dynamic',
    ],
    ...['not-found', 'custom-error', 'filtered', 'forgiven', 'passthrough', 'passthrough-file'],
    ...['send', 'send-text', 'send-buffer', 'send-later', 'send-after-return', 'send-redirect', 'page'],
  ],
  express: [
    ...[
      'json',
      'end',
      'write-end',
      'write-head',
      'write-head-pairs',
      'callbacks',
      'pipe',
      'pipeline',
      'send-file',
    ],
    ...['download', 'express-redirect', 'next'],
  ],
  fastify: ['reply-stream', 'returned-stream', 'typed-array', 'fastify-redirect', 'serialized'],
};

/** A template engine in one line, in the way of each platform. */
function addViews(app: any, platform: Platform): void {
  const html = ({ id }: { id: number }) => `<h1>Refund ${id}</h1>`;
  if (platform === 'express') {
    app.engine('html', (_path: string, model: { id: number }, done: (e: null, text: string) => void) =>
      done(null, html(model)),
    );
    app.setBaseViewsDir(folder);
    app.setViewEngine('html');
  } else {
    const fastify = app.getHttpAdapter().getInstance();
    fastify.decorateReply('view', function (this: any, _page: string, model: { id: number }) {
      return this.type('text/html; charset=utf-8').send(html(model));
    });
  }
}

/** Past Fastify's hooks, where nobody sees the answer. */
@Controller()
class FastifyRaw {
  @Post('raw-end') @Idempotent() rawEnd(@Res() reply: any) {
    reply.raw.end(`raw ${++ran}`);
  }
  @Post('hijacked') @Idempotent() async hijacked(@Res() reply: any) {
    reply.hijack();
    reply.raw.writeHead(200, { 'content-type': 'text/plain' });
    reply.raw.write('hijacked ');
    await new Promise(setImmediate);
    reply.raw.end(String(++ran));
  }
}

describe.each(PLATFORMS)('%s', (platform) => {
  let app: TestApp;

  beforeAll(async () => {
    const own = platform === 'express' ? ExpressByHand : FastifyByHand;
    app = await startApp({
      platform,
      controllers: [Values, Passthrough, ByHand, own, Pages],
      module: { required: false },
      setup: (nest) => addViews(nest, platform),
    });
  });
  afterAll(() => app.close());

  it.each([...ways.both, ...ways[platform]])('G22 %s is replayed byte for byte', async (path) => {
    const first = await app.post(`/${path}`, path, {});
    expect(ran).toBe(1);
    for (let i = 0; i < 2; i++) {
      const replay = await app.post(`/${path}`, path, {});
      expectReplayOf(first, replay);
      for (const name of ['location', 'etag', 'content-language', 'content-disposition', 'last-modified']) {
        expect([name, replay.headers.get(name)]).toEqual([name, first.headers.get(name)]);
      }
    }
    expect(ran).toBe(1);
  });

  it.each([...ways.both, ...ways[platform]])(
    'G22 the first answer of %s is what it is without a key',
    async (path) => {
      const untouched = await app.post(`/${path}`, null, {});
      ran = 0;
      const first = await app.post(`/${path}`, `first-${path}`, {});
      expect([first.status, first.text]).toEqual([untouched.status, untouched.text]);
      expect(first.body.equals(untouched.body)).toBe(true);
      expect(ownHeaders(first)).toEqual(ownHeaders(untouched));
    },
  );

  it('G26 an answer by hand that is never stored is not replayed and does not run again', async () => {
    const first = await app.post('/send-401', 'by-hand', {});
    expect([first.status, first.json]).toEqual([401, { id: 1 }]);
    expectProblem(await app.post('/send-401', 'by-hand', {}), 409, 'response-not-replayable');
    expect(ran).toBe(1);
  });
});

it.each([
  ['raw-end', 'raw 1'],
  ['hijacked', 'hijacked 1'],
])('G26 fastify: %s goes past all hooks, is not replayed and does not run again', async (path, text) => {
  await using app = await startApp({ platform: 'fastify', controllers: [FastifyRaw] });
  const first = await app.post(`/${path}`, 'k', {});
  expect(first.text).toBe(text);
  await eventually(async () => {
    expectProblem(await app.post(`/${path}`, 'k', {}), 409, 'response-not-replayable');
  });
  expect(ran).toBe(1);
});

/** Without those of the moment and of the transfer. */
function ownHeaders({ headers }: Answer): Record<string, string> {
  const moment = [
    'date',
    'connection',
    'keep-alive',
    'transfer-encoding',
    'content-length',
    'last-modified',
    'etag',
  ];
  return Object.fromEntries([...headers].filter(([name]) => !moment.includes(name)));
}
