import { type Case, playCase, type Way } from './callers.js';
import { DemoApp, PAYOUT_MS } from './demo-app.js';
import { problemsOf, table } from './report.js';

const WAYS: Way[] = [
  {
    title: 'POST /refunds, the Idempotency-Key header is the key',
    path: '/refunds',
    hasHeader: true,
    orders: 4,
  },
  {
    title: 'POST /refunds/by-order, the order is the key',
    path: '/refunds/by-order',
    hasHeader: false,
    orders: 4,
  },
  { title: 'POST /refund-requests, through a queue', path: '/refund-requests', hasHeader: true, orders: 2 },
];

console.log(`Money must leave once.

For every order, 20 callers send the same refund at once. Who is refused because the first is still running comes
again, as Retry-After says. Then a duplicate comes late, and one comes with the same key and another amount.
`);

await using app = await DemoApp.start();
console.log(`The app: ${app.url}, SQLite in a fresh file, lock in memory, a payout takes ${PAYOUT_MS} ms.\n`);

let number = 0;
const orderIds = ({ orders }: Way) => Array.from({ length: orders }, () => `order-${++number}`);
const played = await Promise.all(
  WAYS.map(async (way): Promise<[Way, Case[]]> => {
    return [way, await Promise.all(orderIds(way).map((orderId) => playCase(app.url, way, orderId)))];
  }),
);
console.log(table(played));

const cases = played.flatMap(([, ofWay]) => ofWay);
const problems = cases.flatMap(problemsOf);
const sum = (numberOf: (played: Case) => number) => cases.reduce((total, one) => total + numberOf(one), 0);
console.log(`
${cases.length} orders, ${sum(({ sent }) => sent)} requests: ${sum(({ ran }) => ran)} ran, ${sum(({ replayed }) => replayed)} were replayed, ${sum(({ ledgerRows }) => ledgerRows)} payouts left.`);
if (problems.length > 0) {
  console.error(`\nWRONG\n  ${problems.join('\n  ')}`);
  process.exitCode = 1;
} else {
  console.log(
    'The ledger has one payout for each order, and every duplicate got the same bytes as the first.',
  );
}
