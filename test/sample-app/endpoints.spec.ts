import { PLATFORMS } from '../support/http-app.js';
import { BACKENDS, problem } from './backends.js';
import { eventually, PATIENCE_MS, SampleInside } from './sample-app.js';

describe.each(BACKENDS)('%s', (_name, variablesOf) => {
  const apps = {} as Record<(typeof PLATFORMS)[number], SampleInside>;

  beforeAll(async () => {
    const variables = await variablesOf();
    const start = async (HTTP: (typeof PLATFORMS)[number]) =>
      (apps[HTTP] = await SampleInside.start({ ...variables, HTTP, BANK_LATENCY_MS: '20' }));
    await Promise.all(PLATFORMS.map(start));
  }, PATIENCE_MS);

  afterAll(() => Promise.all(Object.values(apps).map((app) => app[Symbol.asyncDispose]())));

  describe.each(PLATFORMS)('%s', (platform) => {
    let app: SampleInside;
    let orderId: string;
    let orders = 0;

    beforeEach(async () => {
      app = apps[platform];
      orderId = `${platform}-${++orders}`;
      await app.pay(orderId);
    });

    it('an order is made once and told', async () => {
      expect(await app.post('/orders', { orderId, amount: 5 })).toMatchObject(problem(409, 'order-exists'));
      const order = { orderId, amount: 100, status: 'PAID' };
      expect(await app.get(`/orders/${orderId}`)).toMatchObject({ status: 200, json: order });
      expect(await app.get('/orders/nobody')).toMatchObject(problem(404, 'order-unknown'));
      expect(await app.get('/orders/%00')).toMatchObject(problem(404, 'order-unknown'));
      const other = orderId.toUpperCase();
      expect(await app.post('/orders', { orderId: other, amount: 1, status: 'REFUNDED' })).toMatchObject({
        status: 201,
        json: { orderId: other, amount: 1, status: 'PAID' },
      });
    });

    it('a bad body is refused everywhere and burns no key', async () => {
      const headers = { 'idempotency-key': `bad-${orderId}` };
      for (const amount of [undefined, 0, -5, 1.5, '100', 1e12]) {
        expect(await app.post('/refunds', { orderId, amount }, headers)).toMatchObject(
          problem(400, 'invalid-request'),
        );
      }
      for (const path of ['/orders', '/refunds/by-order', '/refund-requests']) {
        expect(await app.post(path, { orderId }, headers)).toMatchObject(problem(400, 'invalid-request'));
      }
      const bad = await app.post('/orders', { orderId: 'not an id', amount: 1 });
      expect(bad).toMatchObject(problem(400, 'invalid-request'));
      expect(await app.ledger(orderId)).toEqual([]);
      expect((await app.refund(orderId, headers['idempotency-key'])).status).toBe(201);
    });

    it('a refund pays once, and its duplicates get its answer', async () => {
      const burst = await Promise.all(Array.from({ length: 20 }, () => app.refund(orderId, `k-${orderId}`)));
      const ran = burst.filter(
        ({ status, headers }) => status === 201 && !headers.has('idempotent-replayed'),
      );
      expect(ran).toHaveLength(1);
      const first = ran[0]!;
      expect(first.json).toEqual({
        refundId: expect.stringMatching(/^[0-9a-f]{32}$/),
        orderId,
        amount: 100,
        status: 'REFUNDED',
      });
      for (const answer of burst) {
        if (answer === first || answer.body.equals(first.body)) continue;
        expect(answer).toMatchObject(problem(409, 'in-progress'));
      }
      const late = await app.refund(orderId, `k-${orderId}`);
      expect([late.status, late.text, late.headers.get('idempotent-replayed')]).toEqual([
        201,
        first.text,
        'true',
      ]);
      expect(await app.refund(orderId, `k-${orderId}`, 99)).toMatchObject(problem(422, 'key-reused'));
      expect((await app.get(`/orders/${orderId}`)).json.status).toBe('REFUNDED');
      expect((await app.get(`/refunds/${first.json.refundId}`)).json).toEqual(first.json);
      expect(await app.ledger(orderId)).toEqual([
        {
          payoutId: expect.any(String),
          orderId,
          amount: 100,
          at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
        },
      ]);
    });

    it('refunds of many orders at once do not get in each other’s way', async () => {
      const orderIds = Array.from({ length: 30 }, (_, i) => `${orderId}-${i}`);
      await app.pay(...orderIds);
      const look = () => Promise.all(orderIds.map((id) => app.get(`/orders/${id}`)));
      const [answers] = await Promise.all([
        Promise.all(orderIds.map((id) => app.refund(id, `k-${id}`))),
        look(),
      ]);
      expect(answers.map(({ json }) => [json.orderId, json.status])).toEqual(
        orderIds.map((id) => [id, 'REFUNDED']),
      );
      expect((await look()).map(({ json }) => json.status)).toEqual(orderIds.map(() => 'REFUNDED'));
      const ledgers = await Promise.all(orderIds.map((id) => app.ledger(id)));
      expect(ledgers.map(({ length }) => length)).toEqual(orderIds.map(() => 1));
    });

    it('a refund that cannot be is refused', async () => {
      expect(await app.post('/refunds', { orderId, amount: 100 })).toMatchObject(problem(400, 'key-missing'));
      expect(await app.refund('nobody', `n-${orderId}`)).toMatchObject(problem(404, 'order-unknown'));
      expect(await app.refund(orderId, `m-${orderId}`, 101)).toMatchObject(
        problem(400, 'amount-exceeds-order'),
      );
      expect((await app.refund(orderId, `1-${orderId}`)).status).toBe(201);
      const second = await app.refund(orderId, `2-${orderId}`);
      expect(second).toMatchObject(problem(409, 'illegal-transition'));
      expect(second.json).toMatchObject({ from: 'REFUNDED', to: 'REFUNDING', allowed: [] });
      expect(second.headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
      const customer = { 'idempotency-key': `1-${orderId}`, 'x-customer': 'somebody else' };
      const stranger = await app.post('/refunds', { orderId, amount: 100 }, customer);
      expect(stranger).toMatchObject(problem(409, 'illegal-transition'));
      expect(await app.ledger(orderId)).toHaveLength(1);
    });

    it('the order can be the key', async () => {
      const send = (amount = 100) => app.post('/refunds/by-order', { orderId, amount });
      const burst = await Promise.all(Array.from({ length: 20 }, () => send()));
      expect(
        burst.filter(({ status, headers }) => status === 201 && !headers.has('idempotent-replayed')),
      ).toHaveLength(1);
      const late = await send();
      expect([late.status, late.headers.get('idempotent-replayed')]).toEqual([201, 'true']);
      expect(await send(99)).toMatchObject(problem(422, 'key-reused'));
      expect(await app.post('/refunds/by-order', { amount: 100 })).toMatchObject(problem(400, 'key-missing'));
      expect(await app.ledger(orderId)).toHaveLength(1);
    });

    it('a requested refund goes through the queue and pays once', async () => {
      const send = (key: string) =>
        app.post('/refund-requests', { orderId, amount: 100 }, { 'idempotency-key': key });
      const burst = await Promise.all(Array.from({ length: 20 }, () => send(`q-${orderId}`)));
      const { json, headers } = burst.find(({ status }) => status === 202)!;
      const { refundId } = json as { refundId: string };
      expect(headers.get('location')).toBe(`/refunds/${refundId}`);
      const refund = await eventually(
        () => app.get(`/refunds/${refundId}`),
        (answer) => answer.json.status === 'REFUNDED',
      );
      expect(refund.json).toEqual({ refundId, orderId, amount: 100, status: 'REFUNDED' });
      const late = await send(`q-${orderId}`);
      expect([late.status, late.json, late.headers.get('idempotent-replayed')]).toEqual([
        202,
        { refundId },
        'true',
      ]);
      expect(late.headers.get('location')).toBe(`/refunds/${refundId}`);

      const again = await send(`r-${orderId}`);
      const failed = await eventually(
        () => app.get(`/refunds/${again.json.refundId}`),
        (answer) => answer.json.status !== 'REQUESTED',
      );
      expect(failed.json).toMatchObject({ status: 'FAILED', reason: expect.stringContaining('REFUNDED') });
      expect(await app.ledger(orderId)).toHaveLength(1);
      expect(await app.get('/refunds/nobody')).toMatchObject(problem(404, 'refund-unknown'));
    });

    it('tells how it is and what it is', async () => {
      expect(await app.get('/health')).toMatchObject({ status: 200, json: { status: 'ok' } });
      expect(await app.metric('claims_total')).toBeGreaterThan(0);
      expect((await app.get('/metrics')).headers.get('content-type')).toMatch(
        /^text\/plain; version=0\.0\.4/,
      );
      expect((await app.get('/api')).text).toContain('swagger-ui-bundle.js');
      expect((await app.get('/api/swagger-ui-bundle.js')).body.length).toBeGreaterThan(100_000);
      const { paths } = (await app.get('/api-json')).json;
      expect(Object.keys(paths)).toEqual(
        expect.arrayContaining(['/refunds', '/refunds/by-order', '/refund-requests']),
      );
      const [lab, start] = await Promise.all([app.get('/'), app.get('/start')]);
      for (const { headers, text } of [lab, start]) {
        expect(headers.get('content-type')).toBe('text/html; charset=utf-8');
        expect(text).toMatch(/^<!doctype html>\s*<html lang="en">/);
        expect(text).not.toMatch(/<script>|<style|style=|(src|href)="(?![/#])/);
      }
      expect(start.text).toContain(`curl -i ${app.url}/refunds`);
      expect(lab.text).toContain('Why a lock is not idempotency');
      const watching = new AbortController();
      const events = await fetch(`${app.url}/lab/events`, { signal: watching.signal });
      const { value } = await events.body!.getReader().read();
      expect(new TextDecoder().decode(value)).toContain('"type":"state"');
      watching.abort();
    });
  });
});
