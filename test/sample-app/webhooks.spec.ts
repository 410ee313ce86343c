import { createHmac } from 'node:crypto';
import { jest } from '@jest/globals';
import { InternalServerErrorException } from '@nestjs/common';
import { OrdersService } from '../../sample-app/orders/orders.service.js';
import { isSigned } from '../../sample-app/webhooks/webhook-signature.js';
import { type Answer, eventually, expectProblem, expectReplayOf, Gate } from '../support/http-app.js';
import { SampleInside, sqliteUrl } from './sample-app.js';

const WEBHOOK_SECRET = 'a secret of the provider'.replaceAll(' ', '-');

/** As the provider does it. Spaces: the signature is of the bytes, not of what they mean. */
function delivery(event: object) {
  const body = JSON.stringify(event, null, 1);
  return { body, signature: signature(body) };
}

function signature(body: string, at = Date.now(), secret = WEBHOOK_SECRET): string {
  const t = Math.floor(at / 1_000);
  return `t=${t},v1=${createHmac('sha256', secret).update(`${t}.${body}`).digest('hex')}`;
}

function payment(id: string, orderId: string, amount = 100) {
  return { id, type: 'payment.succeeded', data: { orderId, amount } };
}

describe.each(['express', 'fastify'])('webhooks of a payment provider on %s', (HTTP) => {
  let app: SampleInside;
  let createOnce: jest.SpiedFunction<OrdersService['createOnce']>;

  beforeAll(async () => {
    app = await SampleInside.start({ HTTP, DATABASE_URL: sqliteUrl(), WEBHOOK_SECRET });
  });
  afterAll(() => app[Symbol.asyncDispose]());
  beforeEach(() => {
    createOnce = jest.spyOn(app.app.get(OrdersService), 'createOnce');
  });
  afterEach(() => createOnce.mockRestore());

  const send = (
    body: string,
    signed: string | undefined,
    headers: Record<string, string> = {},
  ): Promise<Answer> =>
    app.post('/webhooks/payments', body, {
      'content-type': 'application/json',
      ...(signed === undefined ? {} : { 'webhook-signature': signed }),
      ...headers,
    });
  const deliver = (event: object, headers?: Record<string, string>) => {
    const { body, signature } = delivery(event);
    return send(body, signature, headers);
  };

  it('an event that comes twice is worked on once, and both are told it has come', async () => {
    const event = payment('evt_twice', 'twice');
    const first = await deliver({ ...event, pending_webhooks: 1 });
    expect([first.status, first.json]).toEqual([200, { received: 'evt_twice' }]);
    // Whoever else says he owns the key: what is not signed changes nothing, nor does what differs between deliveries.
    const second = await deliver({ pending_webhooks: 2, ...event }, { 'x-customer': 'another' });
    expectReplayOf(first, second);
    expect(createOnce).toHaveBeenCalledTimes(1);
    expect((await app.get('/orders/twice')).json).toEqual({ orderId: 'twice', amount: 100, status: 'PAID' });
  });

  it('20 deliveries at once: one run, and the others are told so or to come again', async () => {
    const event = payment('evt_burst', 'burst');
    const answers = await Promise.all(Array.from({ length: 20 }, () => deliver(event)));
    expect(createOnce).toHaveBeenCalledTimes(1);
    expect(answers.filter(({ status }) => status !== 200 && status !== 409)).toEqual([]);
    expect((await deliver(event)).status).toBe(200);
    expect(createOnce).toHaveBeenCalledTimes(1);
  });

  it('an id that comes with something else is refused, and nothing is done', async () => {
    await deliver(payment('evt_other', 'other'));
    for (const event of [payment('evt_other', 'other', 101), payment('evt_other', 'another-order')]) {
      expectProblem(await deliver(event), 422, 'key-reused');
    }
    expect(createOnce).toHaveBeenCalledTimes(1);
    expect((await app.get('/orders/another-order')).status).toBe(404);
  });

  it('while it is worked on: 409 with Retry-After, which brings the provider back', async () => {
    const gate = new Gate();
    const real = createOnce.getMockImplementation()!;
    createOnce.mockImplementation(async function (this: OrdersService, ...order) {
      await gate.opened;
      return real.apply(this, order);
    });
    const event = payment('evt_slow', 'slow');
    const first = deliver(event);
    await eventually(() => expect(createOnce).toHaveBeenCalledTimes(1));
    const early = await deliver(event);
    expectProblem(early, 409, 'in-progress');
    expect(early.headers.get('retry-after')).toBe('1');
    gate.open();
    expectReplayOf(await first, await deliver(event));
    expect(createOnce).toHaveBeenCalledTimes(1);
  });

  it('after a failure of whatever kind the next delivery runs again', async () => {
    const event = payment('evt_failed', 'failed');
    createOnce.mockRejectedValueOnce(new InternalServerErrorException('The database is gone'));
    expect((await deliver(event)).status).toBe(500);
    expect((await deliver(event)).status).toBe(200);
    // A refusal as well: what it is for may be put right.
    const second = payment('evt_refused', 'failed', 101);
    expect((await deliver(second)).json.code).toBe('order-exists');
    expect((await deliver(second)).headers.get('idempotent-replayed')).toBeNull();
    expect(createOnce).toHaveBeenCalledTimes(4);
  });

  it('what the provider has not signed claims no key and is told nothing', async () => {
    const known = delivery(payment('evt_known', 'known'));
    expect((await send(known.body, known.signature)).status).toBe(200);
    const forged = delivery(payment('evt_forged', 'forged'));
    const claims = await app.metric('claims_total');
    const replays = await app.metric('replays_total');
    const late = Date.now() - 301_000;
    for (const { body, signature: right } of [known, forged]) {
      const wrong = [
        ...[undefined, '', 'v1', right.replace(/t=\d+,/, ''), right.replace(/v1=.*/, '')],
        ...[signature(body, Date.now(), 'another secret'), signature(`${body} `), signature(body, late)],
        ...[right.replace('t=', 't=1'), `${right},t=1`, right.replace('v1', 'v0')],
      ];
      for (const one of wrong) {
        const refused = await send(body, one);
        expect([one, refused.status]).toEqual([one, 401]);
        expect(refused.headers.get('idempotent-replayed')).toBeNull();
      }
      expect((await send(body.replace('100', '101'), right)).status).toBe(401);
    }
    expect(await app.metric('claims_total')).toBe(claims);
    expect(await app.metric('replays_total')).toBe(replays);
    // The id of the forged ones is as good as new.
    expect((await send(forged.body, forged.signature)).status).toBe(200);
    expect((await app.get('/orders/forged')).json.amount).toBe(100);
  });

  it('a signed event that is none is refused, and burns no id', async () => {
    const { id, ...nameless } = payment('evt_form', 'form');
    expectProblem(await deliver(nameless), 400, 'key-missing');
    expect((await deliver({ id, type: 'payment.succeeded', data: {} })).json.code).toBe('invalid-request');
    expect((await deliver({ id, type: 'payment.succeeded' })).json.code).toBe('invalid-request');
    expect((await deliver({ id, ...nameless })).status).toBe(200);
    expect((await deliver({ id: 'evt_else', type: 'payment.failed', data: {} })).status).toBe(200);
    expect(createOnce).toHaveBeenCalledTimes(1);
  });
});

it('a signature is of a time and of one or several secrets', () => {
  const body = Buffer.from('{}');
  const now = 1_767_225_600_000;
  const check = (header: string, at = now) => isSigned(header, body, WEBHOOK_SECRET, at);
  const right = signature('{}', now);
  const old = signature('{}', now, 'the secret before this one');
  expect([check(right), check(old)]).toEqual([true, false]);
  // While the provider changes its secret it signs with both.
  expect(check(`${old}, ${right.split(',')[1]}`)).toBe(true);
  expect([300_000, 301_000, -300_000, -301_000].map((ms) => check(right, now + ms))).toEqual([
    ...[true, false],
    ...[true, false],
  ]);
});

it('without WEBHOOK_SECRET there are none', async () => {
  await using app = await SampleInside.start({ DATABASE_URL: sqliteUrl(), STORE: 'memory' });
  const { body, signature } = delivery(payment('evt_1', 'order'));
  expect((await app.post('/webhooks/payments', body, { 'webhook-signature': signature })).status).toBe(404);
});
