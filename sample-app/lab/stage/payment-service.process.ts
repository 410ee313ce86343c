/** One of the three payment services: a process that is told by the lab what to play. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { schemes } from '../schemes/index.js';
import type { Point, Refund } from '../scheme.js';
import { type Consumer, consume } from './consumer.js';
import { type Answer, type Delivery, nextOf, type Order, type Part, type Report } from './messages.js';
import { PaymentSite } from './payment-site.js';

interface Play {
  readonly site: PaymentSite;
  readonly consumer: Consumer;
}

const atWorkOn = new AsyncLocalStorage<Delivery>();
const visits = new Map<number, () => void>();
let visit = 0;
let play: Play | undefined;

function report(what: Report): void {
  process.send!(what);
}

async function open(part: Part): Promise<Play> {
  const scheme = schemes.find(({ id }) => id === part.scheme);
  if (!scheme) throw new Error(`there is no scheme ${part.scheme}`);
  const site = new PaymentSite(part, {
    point: reach,
    note: (text) => report({ type: 'note', text }),
    payout: (text) => report({ type: 'payout', text }),
  });
  const refund = await scheme.open(site);
  return { site, consumer: await consume(part, (delivery) => work(refund, delivery)) };
}

async function work(refund: Refund, delivery: Delivery) {
  report({ type: 'delivered', delivery });
  const answer: Answer = await atWorkOn
    .run(delivery, () => refund(delivery.command))
    .then(
      (outcome) => ({ outcome }),
      (error: unknown) => ({ error: error instanceof Error ? error.message : String(error) }),
    );
  const next = nextOf(delivery, answer);
  report({ type: 'answered', delivery, answer, next });
  return next;
}

/** The lab says when to go on. A scheme may come to a point outside of a delivery; then nobody is waited for. */
async function reach(point: Point): Promise<void> {
  const delivery = atWorkOn.getStore();
  if (!delivery) return;
  const id = ++visit;
  const passed = new Promise<void>((pass) => visits.set(id, pass));
  report({ type: 'point', visit: id, point, delivery: delivery.id });
  await passed;
}

async function obey(order: Order): Promise<void> {
  switch (order.type) {
    case 'open':
      play = await open(order.part);
      return report({ type: 'opened' });
    case 'deliver':
      return play!.consumer.deliver(order.delivery);
    case 'bank-takes':
      play!.site.bankLatencyMs = order.ms;
      return;
    case 'pass':
      visits.get(order.visit)?.();
      visits.delete(order.visit);
      return;
    case 'close':
      await play?.consumer.close();
      await play?.site.close();
      play = undefined;
      return report({ type: 'closed' });
  }
}

process.on('message', (order: Order) => {
  obey(order).catch((error: unknown) =>
    report({ type: 'failed', error: String((error as Error).stack ?? error) }),
  );
});
process.on('disconnect', () => process.exit());
report({ type: 'up' });
