import { randomUUID } from 'node:crypto';
import { type ClientProxy, ClientProxyFactory, Transport } from '@nestjs/microservices';
import { lastValueFrom } from 'rxjs';
import type { DataSource } from 'typeorm';
import { openMigrated, POSTGRES } from '../stores/typeorm-flavours.js';
import { type FaultProxy, startProxy } from '../support/proxy.js';
import { type Broker, REDELIVERY_MS, RETRY } from './broker.js';
import { ConsumerProcess } from './consumer-process.js';
import type { BookCommand, LedgerSetup } from './fixtures/commands.js';

const LEASE_MS = 500;
const QUEUE = 'ledger';

/** What is checked at the commit: closed refunds are refused, and others give way so often as they are told to. */
const SCHEMA = `
  CREATE TABLE ledger (refund varchar(100), attempt integer, conflicts integer);
  CREATE TABLE closed (refund varchar(100));
  CREATE SEQUENCE given_way;
  CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (SELECT 1 FROM closed WHERE refund = NEW.refund) THEN RAISE 'closed' USING ERRCODE = 'check_violation'; END IF;
    IF NEW.conflicts > 0 AND nextval('given_way') <= NEW.conflicts THEN
      RAISE 'gave way' USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN NULL;
  END $$;
  CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION at_commit();`;

/**
 * Messages whose handlers have a transaction, over RabbitMQ with PostgreSQL: two services, of which one is killed, and a
 * database that can be cut off.
 */
export function testTransactionalMessages(brokerOf: () => { broker: Broker; url: string }): void {
  let broker: Broker;
  let witness: DataSource;
  let proxy: FaultProxy;
  let services: ConsumerProcess[];
  let client: ClientProxy;

  beforeAll(async () => {
    const { url } = brokerOf();
    ({ broker } = brokerOf());
    const options = (await POSTGRES.create()) as { url: string };
    witness = await openMigrated(options as never);
    await witness.query(SCHEMA);
    proxy = await startProxy(Number(new URL(options.url).port));
    const module = { leaseMs: LEASE_MS, redeliveryDelayMs: REDELIVERY_MS, backendTimeoutMs: 500 };
    const setup: LedgerSetup = { amqpUrl: url, queue: QUEUE, databaseUrl: proxy.url(options.url), module };
    const start = () => ConsumerProcess.of('ledger-consumer', { LEDGER: JSON.stringify(setup) });
    services = await Promise.all([start(), start()]);
    client = ClientProxyFactory.create({
      transport: Transport.RMQ,
      options: { urls: [url], queue: QUEUE, noAssert: true },
    });
    await client.connect();
  }, 60_000);
  afterAll(async () => {
    await client.close();
    await Promise.all(services.map(({ process }) => process.stop()));
    await proxy.close();
    await witness.destroy();
  });

  const command = (of: Partial<BookCommand> = {}): BookCommand => ({ refundId: randomUUID(), ...of });
  const runs = ({ refundId }: BookCommand) =>
    services.reduce((count, service) => count + service.runs(refundId), 0);
  const began = ({ refundId }: BookCommand) =>
    Promise.any(services.map((service) => service.began(refundId).then(() => service)));
  const ask = (payload: BookCommand): Promise<any> =>
    lastValueFrom(client.send('book', payload)).catch((error: unknown) => ({ error }));
  /** On which attempts the rows of a refund were written. */
  const rows = async ({ refundId }: BookCommand): Promise<number[]> => {
    const found = await witness.query('SELECT attempt FROM ledger WHERE refund = $1', [refundId]);
    return found.map(({ attempt }: { attempt: number }) => attempt);
  };
  const booked = (refund: BookCommand) => broker.until(async () => (await rows(refund)).length > 0);
  const isPutBack = () => broker.until(async () => (await broker.waiting(QUEUE + RETRY)) > 0);

  it('G51 a consumer killed between the row and the commit: another one books it, once', async () => {
    const refund = command({ hold: true });
    await broker.emit(QUEUE, 'booked', refund);
    const victim = await began(refund);
    expect(await rows(refund)).toEqual([]);
    services = services.filter((service) => service !== victim);
    await victim.process.kill('SIGKILL');
    const next = await began(refund);
    await next.go(refund.refundId);
    await booked(refund);
    expect([await rows(refund), await ask(refund)]).toEqual([[2], { refundId: refund.refundId, attempt: 2 }]);
    expect(runs(refund)).toBe(1);
  });

  it('a commit that gives way to others is run again, and with no end of that the message comes back', async () => {
    // Four runs of the first delivery, two of the next.
    const refund = command({ conflicts: 5 });
    await broker.emit(QUEUE, 'booked', refund);
    await booked(refund);
    expect([await rows(refund), runs(refund)]).toEqual([[2], 6]);
  });

  it('a commit that is refused: who asked is told, and an event comes back although it was acknowledged', async () => {
    const [asked, told] = [command(), command()];
    for (const { refundId } of [asked, told])
      await witness.query('INSERT INTO closed (refund) VALUES ($1)', [refundId]);
    expect(await ask(asked)).toMatchObject({ error: { code: 'transaction-failed', status: 500 } });
    await broker.emit(QUEUE, 'booked', told);
    await broker.until(() => runs(told) > 1);
    await witness.query('DELETE FROM closed');
    await booked(told);
    expect([await rows(asked), runs(asked), (await rows(told)).length]).toEqual([[], 1, 1]);
  });

  it.each(['executed', 'never arrived'])(
    'G21 the database is cut off at the commit, which was %s: the message comes back, and there is one row',
    async (what) => {
      const isExecuted = what === 'executed';
      const refund = command({ hold: true });
      const answer = isExecuted ? ask(refund) : broker.emit(QUEUE, 'booked', refund);
      const service = await began(refund);
      let isCut = false;
      const matching = (chunk: Buffer) => (isCut ||= chunk.includes('COMMIT'));
      if (isExecuted) proxy.cutReply({ matching, once: false });
      else proxy.cutRequest({ matching, once: false });
      await service.go(refund.refundId);
      await isPutBack();
      expect([isCut, await rows(refund)]).toEqual([true, isExecuted ? [1] : []]);
      proxy.pass();
      const attempt = isExecuted ? 1 : 2;
      if (isExecuted) expect(await answer).toEqual({ refundId: refund.refundId, attempt });
      await booked(refund);
      expect([await rows(refund), runs(refund)]).toEqual([[attempt], attempt]);
    },
  );

  // The last one: it ends the services.
  it('every refund was booked once, and no message is left behind', async () => {
    await broker.until(
      async () => (await broker.waiting(QUEUE)) + (await broker.waiting(QUEUE + RETRY)) === 0,
    );
    await Promise.all(services.map(({ process }) => process.stop()));
    expect(await broker.waiting(QUEUE)).toBe(0);
    const twice = 'SELECT refund FROM ledger GROUP BY refund HAVING count(*) > 1';
    expect(await witness.query(twice)).toEqual([]);
  });
}
