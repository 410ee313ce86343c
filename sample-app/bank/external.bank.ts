import { BadGatewayException } from '@nestjs/common';
import type { OnApplicationShutdown } from '@nestjs/common';
import { IdempotencyContext, IdempotencyError } from 'nestjs-idempotent';
import { type IdempotentFetch, idempotentFetch, NoAnswerError } from 'nestjs-idempotent/client';
import { EnvironmentError } from '../config/environment.error.js';
import { shown } from '../config/environment.rules.js';
import type { Environment } from '../config/environment.js';
import { Bank, type PayoutOrder } from './bank.js';
import { BankProcess } from './bank.process.js';
import type { Payout } from './payout.entity.js';

/** How long the bank may take beyond the time a payout takes. */
const PATIENCE_MS = 10_000;
/** A bank that is down is for those to wait for who asked for the refund. */
const ATTEMPTS = 5;

/**
 * A bank elsewhere: no transaction of the shop includes it. A payout is a recovery point, so what is known to be paid is not
 * paid again; where that is not known, because a process died in between, the bank is asked with the same key, and it knows.
 */
export class ExternalBank extends Bank implements OnApplicationShutdown {
  readonly place: string;
  /** What gets lost on the way to the bank or back is sent again, with the same key. */
  private readonly send: IdempotentFetch;

  private constructor(
    private readonly url: string,
    payoutMs: number,
    private readonly process?: BankProcess,
  ) {
    super();
    this.place = `external at ${url}`;
    const attemptTimeoutMs = payoutMs + PATIENCE_MS;
    this.send = idempotentFetch({ attempts: ATTEMPTS, attemptTimeoutMs, deadlineMs: 2 * attemptTimeoutMs });
  }

  /**
   * The bank at `BANK_URL`. Without one it is started, and ends with this process.
   *
   * @throws EnvironmentError when none answers there.
   */
  static async open({ BANK_URL, BANK_LATENCY_MS }: Environment): Promise<ExternalBank> {
    if (BANK_URL === undefined) {
      const process = await BankProcess.start(BANK_LATENCY_MS);
      return new ExternalBank(process.url, BANK_LATENCY_MS, process);
    }
    const bank = new ExternalBank(BANK_URL.replace(/\/$/, ''), BANK_LATENCY_MS);
    await bank.ledger('nobody').catch((cause: Error) => {
      const problem = `BANK_URL is ${shown(BANK_URL)}; it must be where a bank answers: ${cause.message}`;
      throw new EnvironmentError([problem], { cause });
    });
    return bank;
  }

  async clear(order: PayoutOrder): Promise<void> {
    const context = IdempotencyContext.current();
    if (!context) throw new Error('A payout belongs into an idempotent call: the bank needs a key for it');
    await context.step('payout', async () => {
      // Who has lost the key to somebody else leaves the payout to him.
      context.assertHeld();
      const request = this.send(`${this.url}/payouts`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', 'Idempotency-Key': context.deriveKey('payout') },
        body: JSON.stringify({ orderId: order.orderId, amount: order.amount }),
        signal: context.signal,
      });
      await answerTo(request);
    });
  }

  /** It has been booked over there. */
  async book(): Promise<void> {}

  async ledger(orderId?: string): Promise<Payout[]> {
    const query = orderId === undefined ? '' : `?${new URLSearchParams({ orderId })}`;
    const signal = AbortSignal.timeout(PATIENCE_MS);
    return (await answerTo(fetch(`${this.url}/payouts${query}`, { signal }))) as Payout[];
  }

  async onApplicationShutdown(): Promise<void> {
    await this.process?.end();
  }
}

/** No refusal of the shop's: whether the bank has paid may be unknown, so the call may, and must, be made again. */
async function answerTo(request: Promise<Response>): Promise<unknown> {
  try {
    const response = await request;
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
    return await response.json();
  } catch (error) {
    if (error instanceof IdempotencyError) throw error;
    throw new BadGatewayException(`The bank did not answer as it should: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

/** Nothing of the key: that is between the shop and the bank. */
function reasonOf(error: unknown): string | undefined {
  if (error instanceof NoAnswerError) return `it was asked ${error.attempts} times`;
  const { message, cause } = error as Error;
  return cause instanceof Error ? cause.message || (cause as NodeJS.ErrnoException).code : message;
}
