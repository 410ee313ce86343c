import { eventually, PATIENCE_MS, SampleProcess, sqliteUrl } from './sample-app.js';

it(
  'a refund that was accepted is not forgotten when the process dies',
  async () => {
    const variables = { DATABASE_URL: sqliteUrl(), LEASE_MS: '500' };
    await using first = await SampleProcess.start({ ...variables, BANK_LATENCY_MS: '60000' });
    await first.pay('order');
    const accepted = await first.post(
      '/refund-requests',
      { orderId: 'order', amount: 100 },
      { 'idempotency-key': 'key' },
    );
    expect(accepted.status).toBe(202);
    await first.process.kill('SIGKILL');

    await using second = await SampleProcess.start(variables);
    const { refundId } = accepted.json;
    await eventually(
      () => second.get(`/refunds/${refundId}`),
      ({ json }) => json.status === 'REFUNDED',
    );
    expect(await second.ledger('order')).toHaveLength(1);
  },
  PATIENCE_MS,
);

it(
  'SIGTERM lets a running refund finish, and its answer is there after the restart',
  async () => {
    const variables = { DATABASE_URL: sqliteUrl(), BANK_LATENCY_MS: '700' };
    await using first = await SampleProcess.start(variables);
    await first.pay('order');
    const running = first.refund('order', 'key');
    await eventually(
      () => first.metric('running'),
      (count) => count === 1,
    );
    const ended = first.process.kill('SIGTERM');
    const answer = await running;
    expect(answer.status).toBe(201);
    expect(await ended).toMatchObject({ signal: 'SIGTERM', stderr: '' });

    await using second = await SampleProcess.start(variables);
    const late = await second.refund('order', 'key');
    expect([late.text, late.headers.get('idempotent-replayed')]).toEqual([answer.text, 'true']);
    expect(await second.ledger('order')).toHaveLength(1);
  },
  PATIENCE_MS,
);
