import { Body, Controller, Post, Res, StreamableFile, HttpCode, Redirect } from '@nestjs/common';
import { Readable } from 'node:stream';
import { Idempotent, IdempotencyCtx, IdempotencyContext } from 'nestjs-idempotent';
import { PLATFORMS, startApp } from '../support/http-app.js';

let ran = 0;
@Controller()
class C {
  @Post('json') @Idempotent() json(@Body() body: any, @IdempotencyCtx() ctx: IdempotencyContext) {
    ran++;
    return { id: ran, body, attempt: ctx.attempt, key: ctx.key };
  }
  @Post('file') @Idempotent() file() {
    ran++;
    return new StreamableFile(Readable.from([Buffer.alloc(70000, 1), Buffer.alloc(70000, 2)]), {
      type: 'application/x-test',
    });
  }
  @Post('res') @Idempotent() res(@Res() res: any) {
    ran++;
    res
      .status(202)
      .header('location', '/x')
      .send('hello ' + ran);
  }
  @Post('none') @HttpCode(204) @Idempotent() none() {
    ran++;
  }
  @Post('redirect') @Redirect('/there', 303) @Idempotent() redirect() {
    ran++;
  }
  @Post('buffer') @Idempotent() buffer() {
    ran++;
    return Buffer.from([1, 2, 3, 0, 255]);
  }
}

describe.each(PLATFORMS)('%s', (platform) => {
  it.each(['json', 'file', 'res', 'none', 'redirect', 'buffer'])('replays %s', async (path) => {
    await using app = await startApp({ platform, controllers: [C] });
    ran = 0;
    const first = await app.post('/' + path, 'k1', { a: 1 });
    const second = await app.post('/' + path, 'k1', { a: 1 });
    expect(ran).toBe(1);
    expect(second.status).toBe(first.status);
    expect(second.body.equals(first.body)).toBe(true);
    expect(second.headers.get('content-type')).toBe(first.headers.get('content-type'));
    expect(second.headers.get('location')).toBe(first.headers.get('location'));
    expect(second.headers.get('idempotent-replayed')).toBe('true');
    const third = await app.post('/' + path, 'k1', { a: 2 });
    expect(third.status).toBe(422);
    expect(third.headers.get('content-type')).toMatch('application/problem+json');
    expect(third.json.code).toBe('key-reused');
    const missing = await app.post('/' + path, null, { a: 2 });
    expect(missing.status).toBe(400);
  });
});
