import { type RabbitMqServer, startRabbitMq } from '../../sample-app/servers/rabbitmq.js';
import { sharedPostgres } from '../support/shared-servers.js';
import { eventually, PATIENCE_MS, SampleProcess, type Variables } from './sample-app.js';

let broker: RabbitMqServer;
let variables: Variables;

beforeAll(async () => {
  broker = await startRabbitMq();
  variables = { AMQP_URL: broker.url, DATABASE_URL: await sharedPostgres().createDatabase(), LOCK: 'none' };
}, PATIENCE_MS);
afterAll(() => broker.stop());

it(
  'a refund service and two payment services: a command goes through RabbitMQ, and the money leaves once whoever dies',
  async () => {
    await using refunds = await SampleProcess.start({ ...variables, ROLE: 'refund' });
    const payment = { ...variables, ROLE: 'payment', BANK_LATENCY_MS: '500', LEASE_MS: '600' };
    await using doomed = await SampleProcess.start(payment);
    await refunds.pay('order-1');
    const request = () =>
      refunds.post('/refund-requests', { orderId: 'order-1', amount: 100 }, { 'idempotency-key': 'key-1' });
    const accepted = await request();
    expect(accepted).toMatchObject({ status: 202, json: { refundId: expect.any(String) } });
    const state = () => refunds.get(`/refunds/${accepted.json.refundId}`);
    await eventually(state, ({ json }) => json.status === 'REFUNDING', PATIENCE_MS);
    await doomed.process.kill();
    expect(await request()).toMatchObject({ status: 202, json: accepted.json });

    await using payments = await SampleProcess.start(payment);
    await eventually(state, ({ json }) => json.status === 'REFUNDED', PATIENCE_MS);
    expect(await refunds.ledger('order-1')).toMatchObject([{ amount: 100 }]);
    expect(await payments.post('/refund-requests', {})).toMatchObject({ status: 404 });
  },
  PATIENCE_MS * 2,
);
