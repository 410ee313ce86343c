import { Controller, Header, Post, Res } from '@nestjs/common';
import { Idempotent } from 'nestjs-idempotent';
import { expectReplayOf, PLATFORMS, startApp, type TestApp } from '../support/http-app.js';

let ran = 0;

/** Of the first answer's moment, connection or caller. */
const FORBIDDEN = {
  'set-cookie': ['session=1; HttpOnly', 'csrf=2'],
  'www-authenticate': 'Basic',
  'retry-after': '7',
  age: '3',
  'x-request-id': 'request-1',
  'x-correlation-id': 'correlation-1',
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  tracestate: 'a=b',
  'server-timing': 'db;dur=53',
  'ratelimit-remaining': '9',
  'x-ratelimit-remaining': '9',
  'x-rate-limit-reset': '9',
};
const ALLOWED = {
  location: '/refunds/1',
  etag: '"v1"',
  'last-modified': 'Wed, 21 Oct 2015 07:28:00 GMT',
  'content-language': 'de',
  'content-disposition': 'attachment; filename="a.txt"',
  'content-location': '/refunds/1.json',
};
const LINKS = ['</a>; rel="next"', '</b>; rel="prev"'];

@Controller()
class Refunds {
  @Post('refund') @Idempotent() refund(@Res({ passthrough: true }) response: any) {
    ran++;
    for (const [name, value] of Object.entries({ ...FORBIDDEN, ...ALLOWED })) response.header(name, value);
    response.header('link', LINKS);
    response.header('x-other', 'other');
    return { id: 1 };
  }
  @Post('chosen') @Idempotent({ responseHeaders: ['X-Refund-Id', 'x-bank-*', 'vary'] }) chosen(
    @Res({ passthrough: true }) response: any,
  ) {
    ran++;
    response.header('X-Refund-Id', '17').header('X-Bank-Code', 'a').header('x-bank-ref', ['b', 'c']);
    response.header('location', '/not-chosen').header('x-banker', 'no');
    return { id: 1 };
  }
  @Post('typed')
  @Header('content-type', 'application/vnd.refund+json')
  @Header('etag', 'W/"2"')
  @Idempotent()
  typed() {
    return { id: ++ran };
  }
}

beforeEach(() => {
  ran = 0;
});

describe.each(PLATFORMS)('%s', (platform) => {
  let app: TestApp;

  beforeAll(async () => {
    app = await startApp({ platform, controllers: [Refunds] });
  });
  afterAll(() => app.close());

  it('G27 what belongs to the first answer only is not replayed', async () => {
    const first = await app.post('/refund', 'forbidden', {});
    const replay = await app.post('/refund', 'forbidden', {});
    expectReplayOf(first, replay);
    for (const name of [...Object.keys(FORBIDDEN), 'x-other']) {
      expect([name, first.headers.get(name)]).toEqual([name, expect.any(String)]);
      expect([name, replay.headers.get(name)]).toEqual([name, null]);
    }
    expect(replay.headers.getSetCookie()).toEqual([]);
  });

  it('G27 what describes the answer is replayed, several values stay several', async () => {
    const first = await app.post('/refund', 'allowed', {});
    const replay = await app.post('/refund', 'allowed', {});
    expect(replay.headers.get('date')).not.toBeNull();
    for (const answer of [first, replay]) {
      for (const [name, value] of Object.entries(ALLOWED))
        expect([name, answer.headers.get(name)]).toEqual([name, value]);
      expect(answer.headers.get('link')).toBe(LINKS.join(', '));
    }
    const raw = await app.postRaw('/refund', ['idempotency-key: allowed']);
    expect(raw.headers.get('link')).toBe(LINKS.join(', '));
    expect(ran).toBe(1);
  });

  it('G27 a route may choose, in upper or lower case and by prefix', async () => {
    await app.post('/chosen', 'chosen', {});
    const replay = await app.post('/chosen', 'chosen', {});
    expect(
      ['x-refund-id', 'x-bank-code', 'x-bank-ref', 'x-banker', 'location'].map((name) =>
        replay.headers.get(name),
      ),
    ).toEqual(['17', 'a', 'b, c', null, null]);
  });

  it('G27 the type of a choice without content-type is not lost to another', async () => {
    const first = await app.post('/typed', 'typed', {});
    const replay = await app.post('/typed', 'typed', {});
    expectReplayOf(first, replay);
    expect([replay.headers.get('content-type'), replay.headers.get('etag')]).toEqual([
      first.headers.get('content-type'),
      'W/"2"',
    ]);
  });
});
