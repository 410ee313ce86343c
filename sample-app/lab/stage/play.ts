import type { Scenario } from '../scenario.js';
import type { Need, Scheme } from '../scheme.js';
import { connect } from './databases.js';
import { InProcessQueue } from './in-process.queue.js';
import type { Lane } from './lane.js';
import { Ledger } from './ledger.js';
import type { Delivery } from './messages.js';
import type { PaymentService } from './payment-service.js';
import { PlayedStage, type StageOptions } from './played-stage.js';
import type { Queue } from './queue.js';
import { RabbitMqQueue } from './rabbitmq.queue.js';

/** Plays a scenario with a scheme. @returns how many payouts the order has got. */
export async function play(
  scheme: Scheme,
  scenario: Scenario,
  lane: Lane,
  options: StageOptions,
): Promise<number> {
  const [services, backends, common] = await Promise.all([
    lane.cast(),
    lane.backendsFor(needsOf(scheme, scenario)),
    lane.servers.common(),
  ]);
  await Promise.all(backends.map((backend) => backend.ready(options.ttlMs)));
  const { ttlMs, prefix } = options;
  const prefetch = scenario.prefetch ?? 1;
  const hands = new Map(services.map(({ name }) => [name, new Set<Delivery>()]));
  const queue: Queue = common.rabbitmq
    ? await RabbitMqQueue.open(common.rabbitmq, prefix)
    : new InProcessQueue(prefetch, hands, (name, delivery) =>
        services.find((service) => service.name === name)?.send({ type: 'deliver', delivery }),
      );
  const stage = new PlayedStage(scheme, scenario, services, backends, queue, options);
  try {
    await Promise.all(
      services.map((service) => {
        const addresses = Object.assign({}, common, ...backends.map((it) => it.addressesFor(service.name)));
        const part = { scheme: scheme.id, prefix, ttlMs, prefetch, addresses };
        return service.ask({ type: 'open', part }, 'opened');
      }),
    );
    try {
      await scenario.play(stage);
    } finally {
      await stage.finish();
    }
  } finally {
    await Promise.all(services.map((service) => leave(service)));
    await queue.close();
  }
  const dataSource = await connect(common.database);
  try {
    return await new Ledger(dataSource).payouts(prefix);
  } finally {
    await dataSource.destroy();
  }
}

/** Of both. */
export function needsOf(scheme: Scheme, { needs = [] }: Scenario): ReadonlySet<Need> {
  return new Set([...scheme.needs, ...needs]);
}

async function leave(service: PaymentService): Promise<void> {
  if (!service.alive) return;
  try {
    await service.ask({ type: 'close' }, 'closed');
  } catch {
    // Whatever it hangs on goes with it: the next cell gets another.
    await service.kill();
  }
}
