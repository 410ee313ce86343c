import { setTimeout as sleep } from 'node:timers/promises';
import { Body, Controller, HttpException, Post } from '@nestjs/common';
import { Idempotent } from 'nestjs-idempotent';
import { NoAnswerError } from 'nestjs-idempotent/client';
import { Gate, eventually, startApp, type TestApp } from '../support/http-app.js';
import { freePort } from '../../sample-app/servers/ports.js';
import { type FaultProxy, startProxy } from '../support/proxy.js';
import { FACES, QUICK } from './faces.js';

/** Payouts that were made, and what each of them waits for. */
const payouts: string[] = [];
let gate: Gate | undefined;

@Controller()
class BankController {
  @Post('payouts')
  @Idempotent()
  async pay(@Body() { amount }: { amount: number }) {
    payouts.push(`payout-${payouts.length}`);
    await gate?.opened;
    return { payout: payouts.at(-1), amount };
  }

  @Post('sick')
  @Idempotent()
  sick() {
    payouts.push('none');
    throw new HttpException('not today', 503);
  }
}

let bank: TestApp;
let proxy: FaultProxy;

beforeAll(async () => {
  bank = await startApp({ controllers: [BankController] });
  proxy = await startProxy(bank.port);
});
afterAll(async () => {
  await proxy.close();
  await bank.close();
});
beforeEach(() => {
  payouts.length = 0;
  gate = undefined;
  proxy.pass();
});

describe.each(FACES)('%s: one payout and one answer', (face, through) => {
  const url = () => `${proxy.url(bank.url)}payouts`;
  const send = through();

  it('when the reply is lost after the payout: the answer is the replay', async () => {
    proxy.cutReply({ matching: 'POST /payouts' });
    const answer = await send(url(), { key: `${face}-reply` });
    expect(answer).toEqual({ status: 201, text: '{"payout":"payout-0","amount":100}', isReplayed: true });
    expect(payouts).toHaveLength(1);
  });

  it('when the request is lost', async () => {
    proxy.cutRequest({ matching: 'POST /payouts' });
    expect(await send(url(), { key: `${face}-request` })).toMatchObject({ status: 201, isReplayed: false });
    expect(payouts).toHaveLength(1);
  });

  it('when replies are lost for a while', async () => {
    proxy.cutReply({ once: false });
    const cuts = proxy.cuts;
    const answer = send(url(), { key: `${face}-outage` });
    await eventually(() => expect(proxy.cuts).toBeGreaterThan(cuts + 2));
    proxy.pass();
    expect(await answer).toMatchObject({ status: 201, isReplayed: true });
    expect(payouts).toHaveLength(1);
  });

  it('when nothing gets through and nothing is closed', async () => {
    const impatient = through({ ...QUICK, attemptTimeoutMs: 400 });
    proxy.drop();
    const answer = impatient(url(), { key: `${face}-hole` });
    await sleep(600);
    expect(payouts).toEqual([]);
    // What was sent by the attempts so far arrives now as well.
    proxy.pass();
    expect(await answer).toMatchObject({ status: 201 });
    expect(payouts).toHaveLength(1);
  });

  it('when the payout takes longer than an attempt: 409 with Retry-After until it is done', async () => {
    gate = new Gate();
    const impatient = through({ ...QUICK, attemptTimeoutMs: 400 });
    const { conflicts } = bank.counters;
    const answer = impatient(url(), { key: `${face}-slow` });
    await eventually(() => expect(bank.counters.conflicts).toBeGreaterThan(conflicts));
    gate.open();
    expect(await answer).toMatchObject({ status: 201, isReplayed: true });
    expect(payouts).toHaveLength(1);
  });

  it('when the same key is for something else: 422, sent once', async () => {
    const { mismatches } = bank.counters;
    await send(url(), { key: `${face}-reused` });
    const refused = await send(url(), { key: `${face}-reused`, body: '{"amount":99}' });
    expect([refused.status, JSON.parse(refused.text).code]).toEqual([422, 'key-reused']);
    expect([payouts.length, bank.counters.mismatches]).toEqual([1, mismatches + 1]);
  });

  it('fails in the end, and says how often it was sent, what came last, and the key', async () => {
    const three = through({ ...QUICK, attempts: 3 });
    const sick = three(`${bank.url}/sick?secret=1`, { key: `${face}-sick` });
    await expect(sick).rejects.toThrow(
      new RegExp(
        `^POST ${bank.url}/sick with key ${face}-sick had no answer after 3 attempts in \\d+ ms ` +
          '\\(attempts is over\\); the last: status 503$',
      ),
    );
    expect(payouts).toHaveLength(3);
    const nobody = await three(`http://127.0.0.1:${await freePort()}/payouts`).catch((error) => error);
    expect(nobody).toBeInstanceOf(NoAnswerError);
    expect(nobody).toMatchObject({ attempts: 3, limit: 'attempts', key: 'key-1', status: undefined });
    expect(nobody.message).toMatch(/; the last: connect ECONNREFUSED 127\.0\.0\.1:\d+$/);
    expect(nobody.cause).toBeDefined();
  });
});
