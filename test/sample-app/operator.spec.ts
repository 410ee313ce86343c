import type { INestApplication } from '@nestjs/common';
import { IdempotencyService } from 'nestjs-idempotent';
import { createApp } from '../../sample-app/app.js';
import { readEnvironment } from '../../sample-app/config/environment.reader.js';
import { type Answer, fetchAnswer, PLATFORMS } from '../support/http-app.js';
import { PATIENCE_MS, SampleInside, sqliteUrl } from './sample-app.js';

const TOKEN = 'a-token-nobody-guesses';
const BEARER = { authorization: `Bearer ${TOKEN}` };
const NASTY = `"><script>alert('key')</script>`;

it('without OPERATOR_TOKEN there is no such page', async () => {
  await using app = await SampleInside.start({ DATABASE_URL: sqliteUrl() });
  for (const path of ['/operator', '/operator/records/1'])
    expect((await fetchAnswer(app.url + path, { headers: BEARER })).status).toBe(404);
  expect((await app.post('/operator/login', { token: '' })).status).toBe(404);
});

describe.each(PLATFORMS)('%s', (HTTP) => {
  let app: INestApplication;
  let url: string;

  beforeAll(async () => {
    app = await createApp(readEnvironment({ HTTP, DATABASE_URL: sqliteUrl(), OPERATOR_TOKEN: TOKEN }));
    await app.listen(0, '127.0.0.1');
    url = await app.getUrl();
  }, PATIENCE_MS);
  afterAll(() => app.close());

  const get = (path: string, headers: Record<string, string> = BEARER) =>
    fetchAnswer(url + path, { headers });
  const post = (path: string, body: unknown, headers: Record<string, string> = BEARER) =>
    fetchAnswer(url + path, { method: 'POST', body, headers });
  const submit = (path: string, fields: Record<string, string>, headers: Record<string, string> = {}) =>
    fetchAnswer(url + path, {
      method: 'POST',
      body: new URLSearchParams(fields).toString(),
      headers: { 'content-type': 'application/x-www-form-urlencoded', origin: url, ...headers },
    });
  const signIn = async () => {
    const cookie = (await submit('/operator/login', { token: TOKEN })).headers.get('set-cookie')!;
    return { cookie: cookie.split(';')[0]! };
  };

  /** A record nobody knows the outcome of, with a step. */
  async function uncertain(key: string): Promise<string> {
    const idempotency = app.get(IdempotencyService);
    const lost = idempotency.run({ scope: 'payouts', key, onError: 'uncertain' }, async (ctx) => {
      await ctx.step('pay', () => ({ payoutId: 'p-1' }));
      throw new Error('the connection was reset');
    });
    await expect(lost).rejects.toThrow('reset');
    return (await idempotency.find({ scope: 'payouts', key }))!.id;
  }

  it('shows nothing to whoever has no token, and does nothing for him', async () => {
    const id = await uncertain('guarded');
    const wrong: Record<string, string>[] = [
      {},
      { cookie: 'operator=9999999999999.x' },
      { cookie: 'operator=' },
    ];
    for (const headers of wrong) {
      const answer = await get('/operator', headers);
      expect(answer).toMatchObject({ status: 401, text: expect.stringContaining('type="password"') });
      expect(answer.text).not.toContain('guarded');
      expect((await submit(`/operator/records/${id}/release`, ACT, headers)).status).toBe(401);
    }
    for (const authorization of [
      'Bearer',
      'Bearer x',
      `Basic ${TOKEN}`,
      `Bearer ${TOKEN}x`,
      `Bearer ${TOKEN} x`,
    ])
      expect((await get('/operator', { authorization })).status).toBe(401);
    expect(await submit('/operator/login', { token: 'x' })).toMatchObject({
      status: 401,
      text: expect.stringContaining('not the token'),
    });
    expect((await get(`/operator/records/${id}`)).json.audit).toEqual([]);
  });

  it('a signed-in browser has a cookie only this page gets, without the token in it', async () => {
    const { status, headers } = await submit('/operator/login', { token: TOKEN });
    expect([status, headers.get('location')]).toEqual([303, '/operator']);
    const cookie = headers.get('set-cookie')!;
    expect(cookie).toMatch(
      /^operator=\d+\.[\w-]{43}; Path=\/operator; Max-Age=28800; HttpOnly; SameSite=Strict$/,
    );
    const until = Number(/\d+/.exec(cookie)![0]);
    expect((await get('/operator', { cookie: cookie.replace(/\d+/, String(until + 1)) })).status).toBe(401);
    expect((await get('/operator', { cookie: `other=1; ${cookie.split(';')[0]}` })).status).toBe(200);
    const out = await submit('/operator/logout', {}, await signIn());
    expect([out.status, out.headers.get('set-cookie')]).toEqual([303, expect.stringContaining('Max-Age=0')]);
  });

  it('a page of another site can do nothing in the name of a signed-in operator', async () => {
    const id = await uncertain('csrf');
    const session = await signIn();
    const foreign: Record<string, string>[] = [
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { 'sec-fetch-site': 'cross-site' },
    ];
    for (const headers of foreign) {
      const answer = await submit(`/operator/records/${id}/release`, ACT, { ...session, ...headers });
      expect(answer.status).toBe(403);
    }
    expect((await get(`/operator/records/${id}`)).json.record.state).toBe('uncertain');
  });

  it('lists by state, and shows one record with its steps; what users wrote stays text', async () => {
    const id = await uncertain(NASTY);
    const session = await signIn();
    const list = await get('/operator?state=uncertain&scope=&olderThanMinutes=', session);
    const record = await get(`/operator/records/${id}`, session);
    for (const { status, text, headers } of [list, record]) {
      expect(status).toBe(200);
      expect(headers.get('content-security-policy')).toMatch(/default-src 'none'.*frame-ancestors 'none'/);
      expect(headers.get('cache-control')).toBe('no-store');
      expect(text).not.toContain(NASTY);
      expect(text).toContain('&quot;&gt;&lt;script&gt;');
      expect(text).not.toContain(TOKEN);
    }
    expect(list.text).toContain(`/operator/records/${id}`);
    expect(record.text).toContain('{&quot;payoutId&quot;:&quot;p-1&quot;}');
    expect((await get('/operator?state=completed', session)).text).not.toContain(id);
    expect((await get('/operator?state=uncertain')).json.records).toContainEqual(
      expect.objectContaining({ id, key: NASTY, state: 'uncertain' }),
    );
    expect((await get(`/operator/records/${id}`)).json.steps).toMatchObject([{ name: 'pay', attempt: 1 }]);
    expect((await get('/operator/records/none')).status).toBe(404);
    for (const query of ['state=x', 'olderThanMinutes=-1'])
      expect(await get(`/operator?${query}`)).toMatchObject({
        status: 400,
        text: expect.stringContaining('must be'),
      });
  });

  it('pages through more than fit on one', async () => {
    const idempotency = app.get(IdempotencyService);
    const runs = Array.from({ length: 60 }, (_, i) =>
      idempotency.run({ scope: 'many', key: `${i}` }, () => i),
    );
    await Promise.all(runs);
    const session = await signIn();
    const seen = new Set<string>();
    let next: string | undefined = '/operator?scope=many';
    for (let pages = 0; next !== undefined && pages < 9; pages++) {
      const { text }: Answer = await get(next, session);
      for (const [link] of text.matchAll(/\/operator\/records\/\w+/g)) seen.add(link);
      next = /href="(\/operator\?[^"]+)"/.exec(text)?.[1]?.replaceAll('&amp;', '&');
    }
    expect(seen.size).toBe(60);
  });

  it('resolves and releases with who and why, and keeps both', async () => {
    const id = await uncertain('resolved');
    const session = await signIn();
    const path = `/operator/records/${id}`;
    const found = { ...ACT, outcome: 'value', status: '201', body: '{"payoutId":"p-1"}' };
    for (const broken of [{ by: '' }, { reason: '' }, { outcome: 'x' }, { body: '{' }]) {
      const refused = await submit(`${path}/resolve`, { ...found, ...broken }, session);
      expect(refused).toMatchObject({ status: 400, text: expect.stringContaining('must be') });
    }
    const done = await submit(`${path}/resolve`, found, session);
    expect([done.status, done.headers.get('location')]).toEqual([303, path]);
    const { record, audit } = (await get(path)).json;
    expect(record.state).toBe('completed');
    expect(audit).toMatchObject([
      { act: 'answer', by: 'anna', reason: 'the bank has it', state: 'uncertain' },
    ]);
    const run = app.get(IdempotencyService).run({ scope: 'payouts', key: 'resolved' }, () => 'again');
    expect(await run).toMatchObject({ value: { payoutId: 'p-1' } });
    expect((await get(path, session)).text).toMatch(/anna[^]*the bank has it/);

    const late = await submit(`${path}/release`, ACT, session);
    expect(late).toMatchObject({ status: 409, text: expect.stringContaining('it has its answer') });
    expect(await post(`${path}/release`, ACT)).toMatchObject({
      status: 409,
      text: expect.stringContaining('it has its answer'),
    });
    const other = await uncertain('released');
    expect(await post(`/operator/records/${other}/release`, ACT)).toMatchObject({
      status: 200,
      json: { audit: [{ act: 'free', by: 'anna' }] },
    });
    expect((await post(`/operator/records/${'0'.repeat(64)}/release`, ACT)).status).toBe(404);
  });
});

const ACT = { by: 'anna', reason: 'the bank has it' };

it('a token that can be guessed stops the start and is not told', () => {
  for (const OPERATOR_TOKEN of ['short', 'with spaces in it, long enough']) {
    expect(() => readEnvironment({ OPERATOR_TOKEN })).toThrow(
      expect.objectContaining({
        message: expect.stringMatching(/OPERATOR_TOKEN is not what it should be; it must be at least 16 /),
      }),
    );
    expect(() => readEnvironment({ OPERATOR_TOKEN })).not.toThrow(OPERATOR_TOKEN);
  }
});
