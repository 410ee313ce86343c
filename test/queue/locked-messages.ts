import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Broker, REDELIVERY_MS, RETRY } from './broker.js';
import type { ConsumerProcess } from './consumer-process.js';
import { command, type PayCommand } from './fixtures/commands.js';

/** Payment services that share a queue of RabbitMQ. */
export interface PaymentQueue {
  readonly queue: string;
  /** Its handlers acknowledge. */
  readonly manual: boolean;
  readonly broker: () => Broker;
  readonly send: (pattern: string, payload: unknown) => Promise<any>;
  /** How often a handler began. */
  readonly runs: (refund: PayCommand) => number;
  readonly acknowledgements: (refund: PayCommand) => number;
  /** How often the money has left. */
  readonly paid: (refund: PayCommand) => Promise<number>;
  readonly whoBegan: (refund: PayCommand) => Promise<ConsumerProcess>;
}

/** Messages whose handlers have `@Locked`, over RabbitMQ. */
export function testLockedMessages(services: PaymentQueue): void {
  const { queue, manual, broker, send, runs, acknowledgements, paid, whoBegan } = services;

  it.each(['requested.locked', 'requested.locked.once'])(
    'G61 %s: an event whose lock is taken comes back, and runs when that is free',
    async (pattern) => {
      const account = randomUUID();
      const [first, second] = [command({ account, hold: true }), command({ account })];
      await broker().emit(queue, pattern, first);
      const service = await whoBegan(first);
      await broker().emit(queue, pattern, second);
      await broker().until(async () => (await broker().waiting(queue + RETRY)) === 1);
      expect(runs(second)).toBe(0);
      await service.go(first.refundId);
      await broker().until(async () => (await paid(second)) === 1);
      expect([await paid(first), runs(first), runs(second)]).toEqual([1, 1, 1]);
      expect(await broker().waiting(`${queue}.dead`)).toBe(0);
    },
  );

  it('G61 a request whose lock is taken is answered when that is free', async () => {
    const account = randomUUID();
    const [first, second] = [command({ account, hold: true }), command({ account })];
    const answers = [send('pay.locked', first)];
    const service = await whoBegan(first);
    answers.push(send('pay.locked', second));
    await broker().until(async () => (await broker().waiting(queue + RETRY)) === 1);
    await service.go(first.refundId);
    expect(await Promise.all(answers)).toMatchObject([{ payout: 1 }, { payout: 1 }]);
  });

  it('G12 an event whose handler has lost its lock comes back, if it is not acknowledged', async () => {
    const account = randomUUID();
    const refund = command({ account, loses: true });
    await broker().emit(queue, 'requested.losing', refund);
    await broker().until(async () => (await paid(refund)) === 1);
    expect(runs(refund)).toBe(2);
    if (!manual) return;
    const done = command({ account, loses: 'done' });
    await broker().emit(queue, 'requested.losing', done);
    await broker().until(() => acknowledgements(done) === 1);
    // Its channel is as it was: acknowledged twice it would be closed.
    expect(await send('pay.locked', command({ account: randomUUID() }))).toMatchObject({ payout: 1 });
    await sleep(REDELIVERY_MS * 2);
    expect([runs(done), acknowledgements(done)]).toEqual([1, 1]);
  });

  it('what a message would lock is missing: a request has the problem, an event is a dead letter', async () => {
    const refund = command();
    expect(await send('pay.locked', refund)).toMatchObject({
      error: { code: 'lock-name-invalid', status: 400, detail: expect.stringContaining('{payload.account}') },
    });
    await broker().emit(queue, 'requested.locked', refund);
    const dead = manual ? [refund] : [];
    await broker().until(async () => (await broker().waiting(queue)) === 0);
    await broker().until(async () => (await broker().waiting(`${queue}.dead`)) === dead.length);
    expect(await broker().takeAll(`${queue}.dead`)).toEqual(dead);
    expect(runs(refund)).toBe(0);
  });
}
