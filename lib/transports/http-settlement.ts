import type { Ownership, Settlement } from '../engine/ownership.js';
import type { TransactionRun } from '../engine/transaction-run.js';
import { isNeverStored, type IdempotentCall } from '../idempotency.call.js';
import { IdempotencyError } from '../idempotency.errors.js';
import type { CallFrame, Outcome } from '../idempotency.frame.js';
import type { IdempotentRoute } from '../idempotency.route.js';
import { encodeOutcome, isPlainData, NOT_REPLAYABLE } from '../idempotency.value.js';
import type { StoredResponse } from '../stores/result-store.js';
import {
  type CapturedAnswer,
  type CaptureObserver,
  problemResponse,
  REPLAYED_HEADER,
} from './http-exchange.js';

/** How long after a lost connection an answer may still come by, in milliseconds. */
const GRACE_MS = 5_000;

/**
 * Settles one HTTP call, exactly once:
 *
 * - The body never began (a pipe or an interceptor refused): the key is free, even for another payload.
 * - The body succeeded, or an error was turned into a success: the answer is recorded as it leaves.
 * - The body threw: `onError` decides, and the answer recorded is what the filters made of the error.
 * - Somebody answered while the body was still running (a time-out): that answer passes unrecorded, and the
 *   body's end is recorded when it comes, as a value, to be made into an answer for the next who asks.
 */
export class HttpSettlement implements CaptureObserver {
  private settled = false;

  constructor(
    private readonly frame: CallFrame,
    private readonly ownership: Ownership,
    private readonly route: IdempotentRoute,
    private readonly call: IdempotentCall,
    private readonly report: (message: string) => void,
  ) {}

  answered(answer: CapturedAnswer): Promise<StoredResponse | undefined> {
    if (this.settled) return Promise.resolve(undefined);
    this.settled = true;
    const { began, outcome } = this.frame;
    if (began && outcome && 'error' in outcome && answer.status >= 400)
      return this.failed(outcome.error, answer);
    if (began && this.frame.transaction && answer.status >= 500)
      return this.rolledBack(this.frame.transaction);
    if (began)
      return this.record(isNeverStored(answer.status) ? late(outcome, this.maxBytes) : this.wire(answer));
    return this.ownership.release('forget').then(() => undefined);
  }

  /** Called when listening ends, for whatever reason. While the body runs on, its end is awaited alone. */
  abandonIfRunning(): void {
    if (this.settled || !this.frame.began || this.frame.outcome) return;
    this.settled = true;
    this.frame.whenEnded((outcome) => void this.settleLate(outcome));
  }

  cut(): void {
    setTimeout(() => {
      if (this.settled) return;
      // Only what was cut off while it was being sent never ends: the body itself has.
      if (this.frame.outcome || !this.frame.began)
        void this.answered({ status: 500, headers: {}, body: null });
      else this.frame.whenEnded(() => this.cut());
    }, GRACE_MS).unref();
  }

  /** The body succeeded, and then what makes the answer failed: nothing was done, so it may be tried again. */
  private async rolledBack(transaction: TransactionRun): Promise<undefined> {
    await transaction.rollback();
    await this.ownership.release('keep');
  }

  private async failed(error: unknown, answer: CapturedAnswer): Promise<StoredResponse | undefined> {
    await this.frame.transaction?.rollback();
    const decision = this.route.decide(error, this.call, this.report);
    if (decision === 'uncertain') await this.ownership.markUncertain();
    else if (decision === 'release' || isNeverStored(answer.status)) await this.ownership.release('keep');
    else return this.record(this.wire(answer));
    return undefined;
  }

  private async settleLate(outcome: Outcome): Promise<void> {
    if ('error' in outcome && !this.frame.transaction && isTooLateToAnswer(outcome.error)) {
      // The work is done: all it failed at is to answer by hand after somebody else had.
      await this.ownership.complete(NOT_REPLAYABLE);
      return;
    }
    if ('error' in outcome) await this.frame.transaction?.rollback();
    const decision = 'error' in outcome ? this.route.decide(outcome.error, this.call, this.report) : 'replay';
    if (decision === 'replay') await this.record(late(outcome, this.maxBytes));
    else if (decision === 'uncertain') await this.ownership.markUncertain();
    else await this.ownership.release('keep');
  }

  /** @returns what goes out instead when somebody else owns the key by now. */
  private record(response: StoredResponse): Promise<StoredResponse | undefined> {
    const { transaction } = this.frame;
    if (transaction?.isOpen) return this.commit(transaction, response);
    return this.ownership
      .complete(response)
      .then((settlement) => (settlement.recorded ? undefined : successorsAnswer(settlement)));
  }

  /** @returns what goes out instead when it was not committed, or nobody knows. */
  private async commit(
    transaction: TransactionRun,
    response: StoredResponse,
  ): Promise<StoredResponse | undefined> {
    try {
      const settlement = await transaction.commit(response);
      return settlement.recorded ? undefined : successorsAnswer(settlement);
    } catch (error) {
      if (!(error instanceof IdempotencyError)) throw error;
      if (error.code === 'outcome-uncertain') this.ownership.leaveToRecord();
      else await this.ownership.release('keep');
      this.report(`${this.call.scope}: ${error.message}: ${String(error.cause)}`);
      return problemResponse(error);
    }
  }

  private wire(answer: CapturedAnswer): StoredResponse {
    return wireResponse(answer, this.route);
  }

  private get maxBytes(): number {
    return this.route.policy.maxResponseBytes;
  }
}

/** Records the answer made of a value that had been recorded in place of one. */
export class RenderedReplay implements CaptureObserver {
  constructor(
    private readonly frame: CallFrame,
    private readonly route: IdempotentRoute,
    private readonly replace: (rendered: StoredResponse) => Promise<void>,
  ) {}

  async answered(answer: CapturedAnswer): Promise<undefined> {
    if (this.frame.began && answer.body && !isNeverStored(answer.status))
      await this.replace(wireResponse(answer, this.route));
  }

  cut(): void {
    // The value stays recorded; the next who asks gets it rendered.
  }
}

function wireResponse({ status, headers, body }: CapturedAnswer, route: IdempotentRoute): StoredResponse {
  if (!body) return NOT_REPLAYABLE;
  // There already: the handler has encoded the bytes itself. What compresses on the way comes after us.
  const encoding = headers['content-encoding'];
  const selected = route.selectHeaders(headers);
  if (encoding !== undefined) selected['content-encoding'] = encoding;
  return { status, headers: selected, body };
}

/**
 * An end that was never sent. Kept as a value where interceptors and serializers make the same of it later;
 * of a class instance they would not (fields hidden by its class would show), so that is not kept.
 */
function late(outcome: Outcome | undefined, maxBytes: number): StoredResponse {
  if (!outcome) return NOT_REPLAYABLE;
  const isKept = 'error' in outcome || (outcome.value !== undefined && isPlainData(outcome.value));
  return isKept ? encodeOutcome(outcome, maxBytes) : NOT_REPLAYABLE;
}

function isTooLateToAnswer(error: unknown): boolean {
  return (Object(error) as { code?: unknown }).code === 'ERR_HTTP_HEADERS_SENT';
}

function successorsAnswer({ seen }: Settlement & { recorded: false }): StoredResponse {
  if (seen?.response?.body && seen.response.status !== null) {
    return {
      ...seen.response,
      headers: { ...seen.response.headers, [REPLAYED_HEADER.toLowerCase()]: 'true' },
    };
  }
  const code = seen?.state === 'completed' ? 'response-not-replayable' : 'lease-lost';
  return problemResponse(new IdempotencyError(code, code === 'lease-lost' ? { retryAfterMs: 1_000 } : {}));
}
