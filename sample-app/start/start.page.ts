import type { Environment } from '../config/environment.js';
import { addressesOf } from '../config/environment.rules.js';
import { type Html, html } from '../web/html.js';

interface StartPage {
  readonly url: string;
  readonly orderId: string;
  readonly environment: Environment;
}

/** Requests to copy into a terminal. Values put in hold no character that means anything to a shell. */
export function startPage({ url, orderId, environment }: StartPage): Html {
  const { HTTP, LOCK, STORE, DATABASE_URL, BANK, BANK_LATENCY_MS } = environment;
  const database = addressesOf(DATABASE_URL)
    .map((url) => url.slice(0, url.indexOf(':')))
    .join(', ');
  const body = `'{"orderId":"${orderId}","amount":1999}'`;
  const json = `-H 'Content-Type: application/json'`;
  return html`<h1>Try it</h1>
    <p>
      This is the sample app of <strong>nestjs-idempotent</strong>: a shop that gives money back. A refund
      request may arrive again, because a browser submits twice, a gateway retries or a queue redelivers.
      However often it arrives, the bank pays once, and everybody who asks gets the same answer.
    </p>

    <p>Copy these into a terminal, one after the other. The order is new every time this page is loaded.</p>
    <ol>
      <li>A customer pays an order of 19.99. ${example(`curl -i ${url}/orders ${json} -d ${body}`)}</li>
      <li>
        Refund it. The <code>Idempotency-Key</code> names the operation.
        ${example(`curl -i ${url}/refunds ${json} -H 'Idempotency-Key: refund-${orderId}' -d ${body}`)}
      </li>
      <li>
        Send the same once more: the same bytes come back, with the header
        <code>Idempotent-Replayed: true</code>.
      </li>
      <li>
        Send it with another amount: 422, because the key was used for something else.
        ${example(`curl -i ${url}/refunds ${json} -H 'Idempotency-Key: refund-${orderId}' -d '{"orderId":"${orderId}","amount":1}'`)}
      </li>
      <li>Ask the ledger what left: one row. ${example(`curl -s '${url}/ledger?orderId=${orderId}'`)}</li>
    </ol>
    <p>
      Without the header, <code>POST /refunds/by-order</code> takes the order itself as the key. Through a
      queue, <code>POST /refund-requests</code> answers 202, and <code>GET /refunds/:refundId</code> tells how
      far it is.
    </p>

    <h2 id="setup">What runs here</h2>
    <table>
      <tr>
        <th scope="row">Platform</th>
        <td><code>HTTP=${HTTP}</code></td>
      </tr>
      <tr>
        <th scope="row">Lock</th>
        <td><code>LOCK=${LOCK}</code></td>
      </tr>
      <tr>
        <th scope="row">Results</th>
        <td><code>STORE=${STORE}</code></td>
      </tr>
      <tr>
        <th scope="row">Database</th>
        <td>${database}, named by <code>DATABASE_URL</code></td>
      </tr>
      <tr>
        <th scope="row">Bank</th>
        <td><code>BANK=${BANK}</code>: ${BANKS[BANK]}</td>
      </tr>
      <tr>
        <th scope="row">A refund</th>
        <td>${refundIs(environment)}</td>
      </tr>
      <tr>
        <th scope="row">A payout takes</th>
        <td><code>BANK_LATENCY_MS=${BANK_LATENCY_MS}</code></td>
      </tr>
    </table>
    <p><code>npm run demo</code> shows bursts of duplicates in one command.</p>`;
}

const BANKS = {
  ledger: 'a table of the database',
  external: html`a process of its own, with a ledger of its own (at <code>BANK_URL</code>, else started by the
    app)`,
};

function refundIs({ isTransactional, BANK }: Environment): Html | string {
  if (isTransactional) return 'order, payout and answer commit in one transaction';
  if (BANK === 'external') return 'the call of the bank is a recorded step, with a key the bank knows it by';
  return html`order and payout commit together, then the answer (with <code>STORE=sql</code> on PostgreSQL or
    MySQL, all three at once)`;
}

/** A line to be copied. It scrolls when it is too long, so the keyboard must reach it. */
function example(command: string): Html {
  return html`<pre tabindex="0"><code>${command}</code></pre>`;
}
