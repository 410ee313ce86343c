import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer } from '../support/http-app.js';
import { PATIENCE_MS, type SampleClient } from './sample-app.js';

/** Calls of one order at the same time. */
export const CALLERS = 3;
/** One request in so many is given up by its caller while it is under way, within so many milliseconds. */
const HANGS_UP = 20;
const HANGS_UP_WITHIN_MS = 60;
/** Between two requests of a caller, in milliseconds. */
const FIRST_PAUSE_MS = 60;
const LONGEST_PAUSE_MS = 480;
/** After no answer at all. */
const CUT_PAUSE_MS = 400;

/**
 * The refusals after which the same request is made again. 500 is what a handler ends with whose database went away;
 * what became of a commit nobody saw the end of, the record tells who asks next.
 */
const ASK_AGAIN = [
  ...['in-progress', 'lease-lost', 'unavailable', 'transaction-conflict', 'transaction-failed'],
  ...['outcome-uncertain', '500'],
];

/** Clients that ask for refunds and, whatever happens, ask again under the same key until they are answered. */
export class Callers {
  /** How often what was met: 201, refusals by code, requests cut or given up. */
  readonly met: Record<string, number> = {};
  #answered = 0;
  #failure: Error | undefined;

  /** @param onAnswered told how many orders there are whose callers all have their answer. */
  constructor(
    private readonly clients: readonly SampleClient[],
    private readonly onAnswered: (orders: number) => void,
  ) {}

  /**
   * Refunds all orders, `width` at a time, each asked for by several callers.
   *
   * @returns the answers by order.
   * @throws Error when one is not answered, or refused as it should not be.
   */
  async refund(orderIds: readonly string[], width: number): Promise<Map<string, Answer[]>> {
    const answers = new Map<string, Answer[]>();
    const left = [...orderIds];
    const work = async () => {
      for (let orderId = left.shift(); orderId !== undefined; orderId = left.shift()) {
        const calls = Array.from({ length: CALLERS }, this.#untilAnswered.bind(this, orderId));
        answers.set(orderId, await Promise.all(calls));
        this.onAnswered(++this.#answered);
      }
    };
    await Promise.all(Array.from({ length: width }, work));
    return answers;
  }

  async #untilAnswered(orderId: string): Promise<Answer> {
    const until = performance.now() + PATIENCE_MS;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
      const answer = await this.#ask(orderId);
      if (answer?.status === 201) return answer;
      if (answer && !ASK_AGAIN.includes(codeOf(answer)))
        this.#fail(`${orderId} was answered: ${answer.text}`);
      if (performance.now() > until) this.#fail(`${orderId} is not refunded yet: ${answer?.text ?? 'cut'}`);
      // Of the first that failed all the others hear.
      if (this.#failure) throw this.#failure;
      await sleep((answer ? pauseMs : CUT_PAUSE_MS) * (0.5 + Math.random()));
    }
  }

  /** @returns undefined when there was no answer. */
  async #ask(orderId: string): Promise<Answer | undefined> {
    const client = this.clients[Math.floor(Math.random() * this.clients.length)]!;
    const hangUp = new AbortController();
    const hangUpMs = Math.random() * HANGS_UP < 1 ? Math.random() * HANGS_UP_WITHIN_MS : 2 * PATIENCE_MS;
    const timer = setTimeout(() => hangUp.abort(), hangUpMs);
    try {
      const answer = await client.refund(orderId, `key-${orderId}`, 100, { signal: hangUp.signal });
      this.#meet(answer.status === 201 ? '201' : codeOf(answer));
      return answer;
    } catch {
      this.#meet(hangUp.signal.aborted ? 'given up' : 'cut');
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }

  #fail(what: string): void {
    this.#failure ??= new Error(`${what}; met so far: ${JSON.stringify(this.met)}`);
  }

  #meet(what: string): void {
    this.met[what] = (this.met[what] ?? 0) + 1;
  }
}

function codeOf({ status, json }: Answer): string {
  return String(json?.code ?? status);
}
