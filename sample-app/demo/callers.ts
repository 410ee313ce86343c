import { setTimeout as sleep } from 'node:timers/promises';

/** How a refund is asked for. */
export interface Way {
  readonly title: string;
  readonly path: string;
  readonly hasHeader: boolean;
  readonly orders: number;
}

/** An order, what was sent for it and what came of it. */
export interface Case {
  readonly orderId: string;
  sent: number;
  ran: number;
  replayed: number;
  stillRunning: number;
  otherAmount: number;
  /** Bytes of every answer that was not a refusal. */
  readonly answers: Buffer[];
  late: { readonly isReplayed: boolean; readonly body: Buffer } | undefined;
  ledgerRows: number;
  readonly surprises: string[];
}

const AMOUNT = 1_999;
const CALLERS = 20;
/** A caller gives up after this many refusals. */
const MOST_TRIES = 20;

/** One order: a burst of duplicates, a late one, one with another amount, a look into the ledger. */
export async function playCase(url: string, way: Way, orderId: string): Promise<Case> {
  const played: Case = {
    ...{ orderId, sent: 0, ran: 0, replayed: 0, stillRunning: 0, otherAmount: 0, ledgerRows: 0 },
    ...{ answers: [], late: undefined, surprises: [] },
  };
  await post(`${url}/orders`, { orderId, amount: AMOUNT });
  const send = (amount: number) => {
    played.sent++;
    const key = way.hasHeader ? { 'Idempotency-Key': `refund-${orderId}` } : undefined;
    return post(url + way.path, { orderId, amount }, key);
  };
  await Promise.all(Array.from({ length: CALLERS }, () => callUntilAnswered(played, () => send(AMOUNT))));
  await untilRefunded(url, orderId);

  const late = count(played, await send(AMOUNT));
  played.late = { isReplayed: late.isReplayed, body: late.body };
  count(played, await send(AMOUNT + 1));
  const ledger = await fetch(`${url}/ledger?orderId=${orderId}`);
  played.ledgerRows = ((await ledger.json()) as unknown[]).length;
  return played;
}

interface Answer {
  readonly status: number;
  readonly isReplayed: boolean;
  /** Only if it is worth coming again. */
  readonly retryAfterMs: number | undefined;
  readonly body: Buffer;
}

/** What a client does that is told to come again: it waits as long as it was told, and sends the same. */
async function callUntilAnswered(played: Case, send: () => Promise<Answer>): Promise<void> {
  for (let tries = 1; tries <= MOST_TRIES; tries++) {
    const answer = count(played, await send());
    if (answer.retryAfterMs === undefined) return;
    await sleep(answer.retryAfterMs);
  }
  played.surprises.push(`a caller was sent away ${MOST_TRIES} times`);
}

function count(played: Case, answer: Answer): Answer {
  const { status, isReplayed, retryAfterMs, body } = answer;
  if (status === 409 && retryAfterMs !== undefined) played.stillRunning++;
  else if (status === 422) played.otherAmount++;
  else if (status !== 201 && status !== 202) played.surprises.push(`${status} ${body.toString()}`);
  else {
    played.answers.push(body);
    if (isReplayed) played.replayed++;
    else played.ran++;
  }
  return answer;
}

/** Through the queue it takes a moment longer than its answer. */
async function untilRefunded(url: string, orderId: string): Promise<void> {
  for (let tries = 1; tries <= 100; tries++) {
    const order = (await (await fetch(`${url}/orders/${orderId}`)).json()) as { status: string };
    if (order.status === 'REFUNDED') return;
    await sleep(50);
  }
}

async function post(url: string, body: object, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  const retryAfter = response.headers.get('Retry-After');
  return {
    status: response.status,
    isReplayed: response.headers.get('Idempotent-Replayed') === 'true',
    retryAfterMs: retryAfter === null ? undefined : 1_000 * Number(retryAfter),
    body: Buffer.from(await response.arrayBuffer()),
  };
}
