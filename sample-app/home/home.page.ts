import type { Environment } from '../config/environment.js';
import { addressesOf } from '../config/environment.rules.js';

interface HomePage {
  readonly url: string;
  readonly orderId: string;
  readonly environment: Environment;
}

/** The first page. Values put in hold no character that means anything to HTML or to a shell. */
export function homePage({ url, orderId, environment }: HomePage): string {
  const { HTTP, LOCK, STORE, DATABASE_URL, BANK, BANK_LATENCY_MS } = environment;
  const database = addressesOf(DATABASE_URL)
    .map((url) => url.slice(0, url.indexOf(':')))
    .join(', ');
  const body = `'{"orderId":"${orderId}","amount":1999}'`;
  const json = `-H 'Content-Type: application/json'`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Refunds: money must leave once</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>Money must leave once</h1>
<p>This is the sample app of <strong>nestjs-idempotent</strong>: a shop that gives money back. A refund request may
arrive again, because a browser submits twice, a gateway retries or a queue redelivers. However often it arrives,
the bank pays once, and everybody who asks gets the same answer.</p>

<h2 id="try">Try it</h2>
<p>Copy these into a terminal, one after the other. The order is new every time this page is loaded.</p>
<ol>
<li>A customer pays an order of 19.99.
${example(`curl -i ${url}/orders ${json} -d ${body}`)}</li>
<li>Refund it. The <code>Idempotency-Key</code> names the operation.
${example(`curl -i ${url}/refunds ${json} -H 'Idempotency-Key: refund-${orderId}' -d ${body}`)}</li>
<li>Send the same once more: the same bytes come back, with the header <code>Idempotent-Replayed: true</code>.</li>
<li>Send it with another amount: 422, because the key was used for something else.
${example(`curl -i ${url}/refunds ${json} -H 'Idempotency-Key: refund-${orderId}' -d '{"orderId":"${orderId}","amount":1}'`)}</li>
<li>Ask the ledger what left: one row.
${example(`curl -s '${url}/ledger?orderId=${orderId}'`)}</li>
</ol>
<p>Without the header, <code>POST /refunds/by-order</code> takes the order itself as the key. Through a queue,
<code>POST /refund-requests</code> answers 202, and <code>GET /refunds/:refundId</code> tells how far it is.</p>

<h2 id="more">More</h2>
<ul>
<li><a href="/api">API</a>: every request, to be tried in the browser</li>
<li><a href="/ledger">Ledger</a>: the money that left; one row is one payout</li>
<li><a href="/metrics">Metrics</a>: what ran, what was replayed, what was refused</li>
<li><a href="/health">Health</a></li>
</ul>

<h2 id="setup">What runs here</h2>
<table>
<tr><th scope="row">Platform</th><td><code>HTTP=${HTTP}</code></td></tr>
<tr><th scope="row">Lock</th><td><code>LOCK=${LOCK}</code></td></tr>
<tr><th scope="row">Results</th><td><code>STORE=${STORE}</code></td></tr>
<tr><th scope="row">Database</th><td>${database}, named by <code>DATABASE_URL</code></td></tr>
<tr><th scope="row">Bank</th><td><code>BANK=${BANK}</code>: ${BANKS[BANK]}</td></tr>
<tr><th scope="row">A refund</th><td>${refundIs(environment)}</td></tr>
<tr><th scope="row">A payout takes</th><td><code>BANK_LATENCY_MS=${BANK_LATENCY_MS}</code></td></tr>
</table>
<p><code>npm run demo</code> shows bursts of duplicates in one command.</p>
</main>
</body>
</html>
`;
}

const BANKS = {
  ledger: 'a table of the database',
  external:
    'a process of its own, with a ledger of its own (at <code>BANK_URL</code>, else started by the app)',
};

function refundIs({ isTransactional, BANK }: Environment): string {
  if (isTransactional) return 'order, payout and answer commit in one transaction';
  if (BANK === 'external') return 'the call of the bank is a recorded step, with a key the bank knows it by';
  return 'order and payout commit together, then the answer (with <code>STORE=sql</code> on PostgreSQL or MySQL, all three at once)';
}

/** A line to be copied. It scrolls when it is too long, so the keyboard must reach it. */
function example(command: string): string {
  const text = command.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
  return `<pre tabindex="0"><code>${text}</code></pre>`;
}

const STYLE = `
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { margin: 0; padding: 1rem; }
main { max-width: 46rem; margin: 0 auto; }
h1 { line-height: 1.2; }
h2 { margin-top: 2rem; }
li { margin: 0.5rem 0; }
pre { overflow-x: auto; padding: 0.75rem; border: 1px solid; border-radius: 0.25rem; }
code { font: 0.9rem/1.4 ui-monospace, monospace; }
table { border-collapse: collapse; }
th, td { text-align: start; padding: 0.25rem 1rem 0.25rem 0; font-weight: normal; }
`;
