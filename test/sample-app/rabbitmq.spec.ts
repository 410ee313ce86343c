import { setTimeout as sleep } from 'node:timers/promises';
import { type RabbitMqServer, startRabbitMq } from '../../sample-app/servers/rabbitmq.js';
import { type FaultProxy, startProxy } from '../support/proxy.js';
import { sharedPostgres, sharedRedisUrl } from '../support/shared-servers.js';
import { eventually, PATIENCE_MS, SampleProcess, type Variables } from './sample-app.js';

const LEASE_MS = 1_000;
/** Long enough to see that a payment service is at it. */
const BANK_LATENCY_MS = '1500';
const ORDERS = Array.from({ length: 12 }, (_, i) => `order-${i}`);

let broker: RabbitMqServer;
let variables: Variables;
/** Between the first payment service and the broker. */
let proxy: FaultProxy;
let refunds: SampleProcess;
let first: SampleProcess;
let second: SampleProcess;
let third: SampleProcess;

beforeAll(async () => {
  broker = await startRabbitMq();
  proxy = await startProxy(Number(new URL(broker.url).port));
  const DATABASE_URL = await sharedPostgres().createDatabase();
  const lock = { LOCK: 'redis', REDIS_URL: sharedRedisUrl(), LEASE_MS: String(LEASE_MS) };
  variables = { ...lock, DATABASE_URL, AMQP_URL: broker.url, BANK_LATENCY_MS };
  [refunds, first] = await Promise.all([
    SampleProcess.start({ ...variables, ROLE: 'refund' }),
    startPayments(proxy.url(broker.url)),
  ]);
}, PATIENCE_MS);
afterAll(() => broker.stop());

function startPayments(AMQP_URL = broker.url): Promise<SampleProcess> {
  return SampleProcess.start({ ...variables, AMQP_URL, ROLE: 'payment' });
}

async function request(orderId: string): Promise<string> {
  const headers = { 'idempotency-key': `key-${orderId}` };
  const answer = await refunds.post('/refund-requests', { orderId, amount: 100 }, headers);
  expect(answer.status).toBe(202);
  return answer.json.refundId;
}

function untilStatus(refundId: string, status: string) {
  const state = () => refunds.get(`/refunds/${refundId}`);
  return eventually(state, ({ json }) => json.status === status, PATIENCE_MS);
}

async function sumOf(metric: string, apps: SampleProcess[]): Promise<number> {
  const counts = await Promise.all(apps.map((app) => app.metric(metric)));
  return counts.reduce((sum, count) => sum + count);
}

it(
  'G54 a command is redelivered long after the lock of the first delivery has run out: one payout',
  async () => {
    await refunds.pay('late');
    const refundId = await request('late');
    await untilStatus(refundId, 'REFUNDING');
    // The payout is made and recorded, and of its acknowledgement the broker never hears.
    proxy.drop();
    await untilStatus(refundId, 'REFUNDED');
    [second, third] = await Promise.all([startPayments(), startPayments(), sleep(3 * LEASE_MS)]);
    proxy.closeConnections();

    const others = [second, third];
    await eventually(
      () => sumOf('replays_total', others),
      (count) => count === 1,
      PATIENCE_MS,
    );
    expect(await sumOf('claims_total', [first, ...others])).toBe(1);
    expect(await refunds.ledger('late')).toMatchObject([{ amount: 100 }]);
    proxy.pass();
  },
  PATIENCE_MS * 2,
);

it(
  'three payment services, of which two are killed while they pay: every order is paid out once',
  async () => {
    await refunds.pay(...ORDERS);
    const kills = [second, third].map(async (doomed) => {
      await eventually(
        () => doomed.metric('running'),
        (count) => count > 0,
        PATIENCE_MS,
      );
      await doomed.process.kill('SIGKILL');
    });
    const [refundIds] = await Promise.all([Promise.all(ORDERS.map(request)), ...kills]);
    expect(await Promise.all(ORDERS.map(request))).toEqual(refundIds);
    await Promise.all(refundIds.map((refundId) => untilStatus(refundId, 'REFUNDED')));
    const paid = (await refunds.ledger()).map(({ orderId }) => orderId);
    expect(paid.toSorted()).toEqual(['late', ...ORDERS].toSorted());
    // A payment service takes no requests.
    expect(await first.post('/refund-requests', {})).toMatchObject({ status: 404 });
  },
  PATIENCE_MS * 2,
);
